//! What to measure, from the command line.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::Fault;
use crate::rows::{ROWS, Row, find};
use crate::table::Place;

/// What is measured, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Everything, to be read.
    Show,
    /// The promised ratios, against the committed ones.
    Check,
    /// The promised ratios, to be committed.
    Write,
}

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) purpose: Purpose,
    pub(crate) folder: PathBuf,
    /// Whether the disk is imitated: files in memory, and syncs that take as long as they do on a quiet disk.
    pub(crate) steady: bool,
    pub(crate) seconds: f64,
    pub(crate) repetitions: usize,
    rows: Vec<String>,
    workers: Vec<usize>,
    places: Option<BTreeSet<Place>>,
    /// The sections of the report: table, parts, instructions. None named: all.
    sections: Vec<String>,
    /// Ten million chunks too.
    pub(crate) full: bool,
    /// Files that get the results too.
    pub(crate) json: Option<PathBuf>,
    pub(crate) markdown: Option<PathBuf>,
    /// Whether the README's table is written anew.
    pub(crate) readme: bool,
}

/// Files that are in memory on Linux, whatever the disk is.
const IN_MEMORY: &str = "/dev/shm/magnetar-bench";

impl Default for Plan {
    fn default() -> Self {
        Plan {
            purpose: Purpose::Show,
            folder: "target/bench".into(),
            steady: false,
            seconds: 0.5,
            repetitions: 3,
            rows: Vec::new(),
            workers: Vec::new(),
            places: None,
            sections: Vec::new(),
            full: false,
            json: None,
            markdown: None,
            readme: false,
        }
    }
}

pub(crate) const SECTIONS: [&str; 3] = ["table", "parts", "instructions"];

impl Plan {
    pub(crate) fn parse(options: &[&str]) -> Result<Self, Fault> {
        let mut plan = Plan::default();
        let mut options = options.iter();
        while let Some(option) = options.next() {
            let mut value =
                || options.next().ok_or_else(|| format!("{option} needs a value: see bench --help"));
            match *option {
                "--folder" => plan.folder = value()?.into(),
                "--steady" => plan.on_a_steady_disk(),
                "--seconds" => plan.seconds = value()?.parse()?,
                "--repetitions" => plan.repetitions = value()?.parse()?,
                "--rows" => {
                    plan.rows = value()?.split(',').map(String::from).collect();
                    plan.rows.iter().try_for_each(|row| find(row).map(|_| ()))?;
                }
                "--workers" => {
                    plan.workers = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?;
                }
                "--sections" => {
                    plan.sections = value()?.split(',').map(String::from).collect();
                    if let Some(unknown) =
                        plan.sections.iter().find(|section| !SECTIONS.contains(&section.as_str()))
                    {
                        return Err(format!("there is no section {unknown:?}, only {SECTIONS:?}").into());
                    }
                }
                "--full" => plan.full = true,
                "--json" => plan.json = Some(value()?.into()),
                "--markdown" => plan.markdown = Some(value()?.into()),
                "--publish" => {
                    plan.json = Some("benches/results.json".into());
                    plan.markdown = Some("benches/results.md".into());
                    plan.readme = true;
                }
                "--check" => plan.purpose = Purpose::Check,
                "--write-ratios" => plan.purpose = Purpose::Write,
                _ => return Err(format!("there is no option {option}: see bench --help").into()),
            }
        }
        let is_part = !(plan.sections.is_empty() && plan.rows.is_empty() && plan.workers.is_empty());
        if plan.readme && is_part {
            return Err(
                "--publish writes all that is committed: leave out --sections, --rows and --workers".into()
            );
        }
        if plan.repetitions == 0 {
            return Err("--repetitions 0 measures nothing".into());
        }
        Ok(plan)
    }

    fn on_a_steady_disk(&mut self) {
        self.steady = true;
        self.folder = IN_MEMORY.into();
    }

    /// These places only, on a steady disk.
    pub(crate) fn of_places(places: BTreeSet<Place>, repetitions: usize) -> Self {
        let mut plan = Plan { places: Some(places), repetitions, seconds: 0.4, ..Plan::default() };
        plan.on_a_steady_disk();
        plan
    }

    pub(crate) fn has(&self, section: &str) -> bool {
        self.sections.is_empty() || self.sections.iter().any(|wanted| wanted == section)
    }

    /// The rows to measure.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &'static Row> {
        ROWS.iter().filter(|row| row.workers.iter().any(|workers| self.wants(row, *workers)))
    }

    /// The rows to measure at a number of workers.
    pub(crate) fn rows_at(&self, workers: usize) -> impl Iterator<Item = &'static Row> {
        ROWS.iter().filter(move |row| row.workers.contains(&workers) && self.wants(row, workers))
    }

    fn wants(&self, row: &Row, workers: usize) -> bool {
        (self.rows.is_empty() || self.rows.iter().any(|id| id == row.id))
            && (self.workers.is_empty() || self.workers.contains(&workers))
            && self.places.as_ref().is_none_or(|places| places.contains(&(row.id, workers)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_choose_rows_and_workers_and_anything_unknown_is_named() {
        let plan = Plan::parse(&["--rows", "redb-direct,redb-batch", "--workers", "8,64"]).unwrap();
        assert_eq!(plan.rows().map(|row| row.id).collect::<Vec<_>>(), ["redb-direct"]);
        assert_eq!(plan.rows_at(8).count(), 1);
        assert_eq!(plan.rows_at(1).count(), 0);
        assert!(Plan::parse(&["--rows", "redb"]).unwrap_err().to_string().contains("\"redb\""));
        assert!(Plan::parse(&["--sections", "tables"]).unwrap_err().to_string().contains("tables"));
        assert!(Plan::parse(&["--seconds"]).unwrap_err().to_string().contains("needs a value"));
        let part = Plan::parse(&["--publish", "--sections", "parts"]).unwrap_err().to_string();
        assert!(part.contains("leave out --sections"), "{part}");
        assert!(Plan::parse(&["--publish", "--seconds", "1"]).is_ok());
        assert!(Plan::parse(&["--repetitions", "0"]).unwrap_err().to_string().contains("--repetitions 0"));
        assert!(Plan::parse(&["--fast"]).unwrap_err().to_string().contains("--fast"));
    }
}
