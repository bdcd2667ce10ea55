//! Whether the promised ratios are still what they were when they were committed.
//!
//! Measured on an imitated disk: what is compared is the work around a sync, not somebody else's disk.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::Fault;
use crate::plan::Plan;
use crate::ratios::{RATIOS, Ratio};
use crate::rows::{Run, find};
use crate::table::{self, Place, Table};

/// Relative to the top of the repository.
const COMMITTED: &str = "benches/ratios.json";
const COMMAND: &str = "cargo xtask bench --write-ratios";

/// A ratio may come to this much of its committed value before it is a fault.
const SHARE_MIN: f64 = 0.75;

const REPETITIONS: usize = 3;
/// How often a ratio that came too low is measured again, in turns of so many repetitions, before it counts: others may
/// have had the machine meanwhile.
const REPETITIONS_MORE: usize = 5;
const TURNS_MORE: usize = 2;

#[derive(Debug, Serialize, Deserialize)]
struct Committed {
    /// What writes this file.
    written_by: String,
    ratios: BTreeMap<String, f64>,
}

/// The cells that ratios need, but for those of programs that may not be there.
fn places(ratios: &[&Ratio]) -> Result<BTreeSet<Place>, Fault> {
    let mut places = BTreeSet::new();
    for place in ratios.iter().flat_map(|ratio| ratio.places()) {
        if let Run::Here(_) = find(place.0)?.run {
            places.insert(place);
        }
    }
    Ok(places)
}

fn checked() -> Vec<&'static Ratio> {
    RATIOS.iter().filter(|ratio| ratio.is_checked).collect()
}

fn measure(ratios: &[&Ratio], repetitions: usize) -> Result<Table, Fault> {
    table::measure(&Plan::of_places(places(ratios)?, repetitions))
}

pub(crate) fn write() -> Result<(), Fault> {
    let checked = checked();
    let table = measure(&checked, REPETITIONS + REPETITIONS_MORE)?;
    let ratios = checked
        .iter()
        .filter_map(|ratio| Some((ratio.name.to_owned(), (ratio.of(&table)?.value * 1e3).round() / 1e3)))
        .collect();
    let committed = Committed { written_by: COMMAND.into(), ratios };
    std::fs::write(COMMITTED, serde_json::to_string_pretty(&committed)? + "\n")?;
    println!("{COMMITTED} is written");
    Ok(())
}

/// Those that fell too far.
fn fallen<'a>(ratios: &[&'a Ratio], table: &Table, committed: &Committed) -> Vec<&'a Ratio> {
    let has_fallen = |ratio: &&&Ratio| {
        let (Some(came), Some(before)) = (ratio.of(table), committed.ratios.get(ratio.name)) else {
            return true;
        };
        came.value < before * SHARE_MIN
    };
    ratios.iter().filter(has_fallen).copied().collect()
}

pub(crate) fn check() -> Result<(), Fault> {
    let text = std::fs::read_to_string(COMMITTED)
        .map_err(|e| format!("{COMMITTED} cannot be read ({e}): write it with {COMMAND}"))?;
    let committed: Committed = serde_json::from_str(&text)?;
    let all = checked();
    let mut table = measure(&all, REPETITIONS)?;
    let mut faults = fallen(&all, &table, &committed);
    for _ in 0..TURNS_MORE {
        if faults.is_empty() {
            break;
        }
        table.extend(measure(&faults, REPETITIONS_MORE)?);
        faults = fallen(&faults, &table, &committed);
    }
    println!("| ratio | committed | measured |\n|---|--:|--:|");
    for ratio in all {
        let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.2}"));
        let came = ratio.of(&table).map(|came| came.value);
        println!(
            "| {} | {} | {} |",
            ratio.name,
            number(committed.ratios.get(ratio.name).copied()),
            number(came)
        );
    }
    if faults.is_empty() {
        println!("\n{} ratios hold", committed.ratios.len());
        return Ok(());
    }
    let names: Vec<_> = faults.iter().map(|ratio| ratio.name).collect();
    Err(format!(
        "fell below {SHARE_MIN} of what is committed in {COMMITTED}: {}; where that is right, write it anew: {COMMAND}",
        names.join("; ")
    )
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything at one rate, but one row.
    fn table(slow: &str, rate: f64) -> Table {
        let all = checked();
        let rates = places(&all).unwrap().into_iter();
        let rates = rates.map(|place| (place, vec![if place.0 == slow { rate } else { 1_000.0 }])).collect();
        Table { rates, ..Table::default() }
    }

    fn committed(table: &Table) -> Committed {
        let ratios = checked()
            .into_iter()
            .map(|ratio| (ratio.name.to_owned(), ratio.of(table).unwrap().value))
            .collect();
        Committed { written_by: COMMAND.into(), ratios }
    }

    #[test]
    fn a_ratio_that_falls_by_a_quarter_holds_and_one_that_falls_further_is_named() {
        let committed = committed(&table("", 0.0));
        let all = checked();
        assert!(fallen(&all, &table("magnetar-redb-batch", 751.0), &committed).is_empty());
        let low = fallen(&all, &table("magnetar-redb-batch", 749.0), &committed);
        assert_eq!(
            low.iter().map(|ratio| ratio.name).collect::<Vec<_>>(),
            ["redb, batches of 256 : the ceiling"]
        );
    }

    #[test]
    fn a_ratio_that_was_never_committed_is_a_fault() {
        let all = checked();
        let none = Committed { written_by: COMMAND.into(), ratios: BTreeMap::new() };
        assert_eq!(fallen(&all, &table("", 0.0), &none).len(), all.len());
    }
}
