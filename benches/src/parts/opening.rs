//! Opening a store whose process was killed.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use magnetar::block_on;

use super::{Fact, Goal};
use crate::Fault;
use crate::clock::timed;
use crate::ours::{Engine, MAGNETAR_JOB};

const ROUNDS: usize = 3;

/// The child: claims until it is killed, and says so from time to time.
pub(crate) fn hold(engine: &str, folder: &Path) -> Result<(), Fault> {
    let store = Engine::find(engine)?.open(folder, "million")?;
    loop {
        for _ in 0..20 {
            block_on(store.claim_pending(MAGNETAR_JOB))?.ok_or("nothing is left to claim")?;
        }
        println!("claimed");
        std::io::stdout().flush()?;
    }
}

/// On the store with a million chunks: killed in the middle of claims, opened, and the first claim.
pub(super) fn after_a_kill(engine: Engine, folder: &Path) -> Result<Vec<Fact>, Fault> {
    let ms = super::rounds(ROUNDS, |_| {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["hold", engine.name()])
            .arg(folder)
            .stdout(Stdio::piped())
            .spawn()?;
        let said = BufReader::new(child.stdout.take().ok_or("a pipe")?).lines().take(2).count();
        child.kill()?;
        child.wait()?;
        if said != 2 {
            return Err("the child ended by itself".into());
        }
        let (store, seconds) = timed(|| {
            let store = engine.open(folder, "million")?;
            block_on(store.claim_pending(MAGNETAR_JOB))?.ok_or("nothing to claim")?;
            Ok::<_, Fault>(store)
        })?;
        block_on(store.close())?;
        Ok(seconds * 1e3)
    })?;
    let what = format!("{}: opening 1,000,000 chunks after kill -9, to the first claim", engine.name());
    Ok(vec![Fact::new(what, ms, "ms").goal(Goal::AtMost(300.0))])
}
