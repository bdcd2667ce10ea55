//! What to measure, from the command line.

use std::path::PathBuf;

use crate::Fault;
use crate::rows::{ROWS, Row, find};

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) folder: PathBuf,
    /// Whether the disk is imitated: files in memory, and syncs that take as long as they do on a quiet disk.
    pub(crate) steady: bool,
    pub(crate) seconds: f64,
    pub(crate) repetitions: usize,
    rows: Vec<String>,
    workers: Vec<usize>,
    pub(crate) json: Option<PathBuf>,
}

impl Plan {
    pub(crate) fn parse(options: &[&str]) -> Result<Self, Fault> {
        let mut plan = Plan {
            folder: "target/bench".into(),
            steady: false,
            seconds: 0.5,
            repetitions: 3,
            rows: Vec::new(),
            workers: Vec::new(),
            json: None,
        };
        let mut options = options.iter();
        while let Some(option) = options.next() {
            let mut value = || {
                options.next().ok_or_else(|| format!("{option} needs a value: see cargo xtask bench help"))
            };
            match *option {
                "--folder" => plan.folder = value()?.into(),
                "--steady" => {
                    plan.steady = true;
                    plan.folder = "/dev/shm/magnetar-bench".into();
                }
                "--seconds" => plan.seconds = value()?.parse()?,
                "--repetitions" => plan.repetitions = value()?.parse()?,
                "--rows" => {
                    plan.rows = value()?.split(',').map(String::from).collect();
                    plan.rows.iter().try_for_each(|row| find(row).map(|_| ()))?;
                }
                "--workers" => {
                    plan.workers = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?
                }
                "--json" => plan.json = Some(value()?.into()),
                _ => return Err(format!("there is no option {option}").into()),
            }
        }
        Ok(plan)
    }

    /// The rows to measure.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &'static Row> {
        ROWS.iter().filter(|row| self.rows.is_empty() || self.rows.iter().any(|id| id == row.id))
    }

    /// The rows to measure at a number of workers.
    pub(crate) fn rows_at(&self, workers: usize) -> impl Iterator<Item = &'static Row> {
        let wanted = self.workers.is_empty() || self.workers.contains(&workers);
        self.rows().filter(move |row| wanted && row.workers.contains(&workers))
    }
}
