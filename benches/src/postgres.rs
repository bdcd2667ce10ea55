//! PostgreSQL, where its server programs are installed: a cluster of its own with the settings it comes with, on a
//! socket of its own, asked by pgbench. Two statements are a cycle, each a transaction of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Fault;
use crate::cell::checksum;
use crate::clock::Measured;

const TABLE: &str = "CREATE TABLE chunks (job bigint, chunk bigint, status smallint NOT NULL DEFAULT 0,
 attempts int NOT NULL DEFAULT 0, fence bigint, owner text, lease_ms bigint, created_at_ms bigint NOT NULL DEFAULT 1,
 updated_at_ms bigint NOT NULL DEFAULT 1, checksum text, PRIMARY KEY (job, chunk));
CREATE INDEX ready ON chunks (job, chunk) WHERE status = 0;";

const CYCLE: &str = "\
UPDATE chunks SET status = 1, fence = 7, owner = '0123456789abcdef0123456789abcdef', lease_ms = 60000 WHERE job = 1 AND \
chunk = (SELECT chunk FROM chunks WHERE job = 1 AND status = 0 ORDER BY chunk LIMIT 1 FOR UPDATE SKIP LOCKED) \
RETURNING chunk \\gset
UPDATE chunks SET status = 2, owner = NULL, lease_ms = NULL WHERE job = 1 AND chunk = :chunk AND fence = 7 AND status = 1;
";

/// Cycles of one measurement, and how many each client does at least.
const CYCLES: u64 = 600;
const CYCLES_EACH_MIN: u64 = 6;

/// A running server. Dropped, it is stopped.
pub(crate) struct Server {
    programs: PathBuf,
    folder: PathBuf,
    /// Short, because a socket's path has to be.
    socket: PathBuf,
    /// Whom to be: the server refuses to run as root.
    user: Option<String>,
}

impl Server {
    /// Starts one, or says why there is none.
    pub(crate) fn start(folder: &Path) -> Result<Self, String> {
        let programs = programs().ok_or("its server programs are not installed")?;
        let fault = |error: &dyn std::fmt::Display| error.to_string();
        let folder = crate::disk::empty(folder).map_err(|e| fault(&e))?;
        let socket = std::env::temp_dir().join(format!("mpg{}", std::process::id()));
        fs::create_dir_all(&socket).map_err(|e| fault(&e))?;
        let root = output(Command::new("id").arg("-u")).is_ok_and(|id| id == "0");
        let user = root.then(|| "postgres".to_owned());
        if let Some(user) = &user {
            for folder in [&folder, &socket] {
                output(Command::new("chown").arg(user).arg(folder)).map_err(|e| fault(&e))?;
            }
        }
        let server = Server { programs, folder, socket, user };
        server.begin().map_err(|e| fault(&e))?;
        Ok(server)
    }

    fn begin(&self) -> Result<(), Fault> {
        let data = self.folder.join("data");
        output(self.command("initdb").args(["-A", "trust", "-U", "postgres", "-D"]).arg(&data))?;
        let settings = format!("-c listen_addresses= -c max_connections=300 -k {}", self.socket.display());
        // The server keeps what it is given as output, so that it must not be a pipe that somebody reads to its end.
        let log = self.folder.join("log");
        output(
            self.command("pg_ctl")
                .args(["-w", "-l"])
                .arg(log)
                .arg("-D")
                .arg(&data)
                .args(["-o", &settings, "start"]),
        )?;
        self.ask(TABLE)?;
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = match &self.user {
            Some(user) => {
                let mut command = Command::new("runuser");
                command.args(["-u", user, "--"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.current_dir(&self.folder).env("PGHOST", &self.socket).env("PGUSER", "postgres");
        command
    }

    fn ask(&self, sql: &str) -> Result<String, Fault> {
        output(self.command("psql").args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            "postgres",
            "-c",
            sql,
        ]))
    }

    fn syncs(&self) -> Result<u64, Fault> {
        // The counts of a backend are published with a delay, unless it is asked to.
        Ok(self.ask("SELECT wal_sync FROM pg_stat_wal")?.trim().parse()?)
    }

    /// What a cell came to, and how many syncs of its log the server counted.
    pub(crate) fn measure(&self, workers: usize, chunks: u64) -> Result<(Measured, u64), Fault> {
        let rows = format!(
            "TRUNCATE chunks; INSERT INTO chunks (job, chunk, checksum) SELECT 1, c, '{}' FROM generate_series(0, {}) c",
            checksum(1),
            chunks - 1
        );
        self.ask(&rows)?;
        self.ask("VACUUM ANALYZE chunks")?;
        let script = self.socket.join("cycle.sql");
        fs::write(&script, CYCLE)?;
        let syncs = self.syncs()?;
        // A number of cycles and not a time: connecting may take longer than the slice, and pgbench leaves it out.
        let each = (CYCLES / workers as u64).max(CYCLES_EACH_MIN).to_string();
        let clients = workers.to_string();
        let threads = workers.min(std::thread::available_parallelism().map_or(1, usize::from)).to_string();
        let text = output(
            self.command("pgbench")
                .args(["-n", "-M", "prepared", "-c", &clients, "-j", &threads, "-t", &each, "-f"])
                .arg(&script)
                .arg("postgres"),
        )?;
        let syncs = self.syncs()? - syncs;
        let number = |before: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(before));
            // So many of so many, where a number of them was asked for.
            let number = line.and_then(|line| line.trim().split([' ', '/']).next());
            number.ok_or_else(|| format!("pgbench does not tell {before:?}: {text}"))
        };
        let cycles: u64 = number("number of transactions actually processed:")?.parse()?;
        let per_second: f64 = number("tps =")?.parse()?;
        let done: u64 = self.ask("SELECT count(*) FROM chunks WHERE status = 2")?.trim().parse()?;
        if done != cycles {
            return Err(format!("pgbench counts {cycles} cycles, the table {done}").into());
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let seconds = cycles as f64 / per_second;
        Ok((Measured { cycles, seconds, began_us: 0, ended_us: 0 }, syncs))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let data = self.folder.join("data");
        let stopped =
            output(self.command("pg_ctl").args(["-w", "-m", "immediate", "-D"]).arg(data).arg("stop"));
        if let Err(fault) = stopped {
            eprintln!("PostgreSQL could not be stopped: {fault}");
        }
        let _ = fs::remove_dir_all(&self.socket);
    }
}

/// Where the server's programs are: on the path, or where Debian puts them.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    versions.sort();
    versions.reverse();
    let all = |folder: &PathBuf| {
        ["initdb", "pg_ctl", "postgres", "psql", "pgbench"]
            .iter()
            .all(|program| folder.join(program).exists())
    };
    versions.into_iter().chain(std::env::split_paths(&path)).find(all)
}

fn output(command: &mut Command) -> Result<String, Fault> {
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: {}: {}", command.get_program().display(), output.status, text.trim()).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
