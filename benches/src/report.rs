//! The results for people (Markdown) and for programs (JSON).

use std::fmt::Write;

use serde_json::{Value, json};

use crate::Fault;
use crate::disk::median;
use crate::instructions::Counted;
use crate::parts::{Fact, Goal};
use crate::ratios::RATIOS;
use crate::rows::{MANY, ROWS};
use crate::table::{Table, spread};

#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) table: Table,
    pub(crate) facts: Vec<Fact>,
    pub(crate) counted: Vec<Counted>,
    /// Why something is missing.
    pub(crate) notes: Vec<String>,
}

/// A machine of one's own repeats a cell within this.
const QUIET: f64 = 1.3;

/// With a separator at the thousands, as people read large numbers.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three digits, or all that stand before the point.
fn short(number: f64) -> String {
    match number {
        n if n >= 100.0 => thousands(n),
        n if n >= 10.0 => format!("{n:.1}"),
        n if n >= 1.0 => format!("{n:.2}"),
        n => format!("{n:.3}"),
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("memory takes text");
}

/// What stands around the table in the README.
const MARKS: [&str; 2] = ["<!-- cargo xtask bench: begin -->\n", "<!-- cargo xtask bench: end -->"];

/// The text with something else between the marks.
pub(crate) fn between_marks(text: &str, table: &str) -> Result<String, Fault> {
    let marked =
        text.split_once(MARKS[0]).and_then(|(before, rest)| Some((before, rest.split_once(MARKS[1])?.1)));
    let (before, after) = marked.ok_or_else(|| format!("the marks {MARKS:?} are missing"))?;
    Ok([before, MARKS[0], table, MARKS[1], after].concat())
}

impl Report {
    /// The first table alone.
    pub(crate) fn table_of_rates(&self) -> String {
        let mut text = String::new();
        self.rates(&mut text);
        text
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        if !self.table.rates.is_empty() {
            self.rates(&mut text);
            self.ratios(&mut text);
        }
        if !self.facts.is_empty() {
            self.parts(&mut text);
        }
        if !self.counted.is_empty() {
            text += "\n| a claim and its completion | instructions |\n|---|--:|\n";
            for counted in &self.counted {
                #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
                let instructions = thousands(counted.instructions_per_cycle as f64);
                line(&mut text, format_args!("| {} | {instructions} |", counted.what));
            }
        }
        for note in self.table.notes.iter().chain(&self.notes) {
            line(&mut text, format_args!("\nNot there: {note}."));
        }
        text
    }

    fn rates(&self, text: &mut String) {
        let table = &self.table;
        *text += "| system | 1 worker, cycles/s | 8 | 64 | 256 | syncs per cycle | an answer means |\n";
        *text += "|---|--:|--:|--:|--:|--:|---|\n";
        for row in ROWS {
            let cell = |workers: &usize| table.rate((row.id, *workers)).map_or_else(String::new, thousands);
            let syncs: Vec<String> = MANY
                .iter()
                .filter_map(|workers| table.syncs_per_cycle.get(&(row.id, *workers)))
                .map(|syncs| format!("{syncs:.3}"))
                .collect();
            let cells: Vec<String> = MANY.iter().map(cell).collect();
            if cells.iter().any(|cell| !cell.is_empty()) {
                let (system, durability) = (row.system, row.durability);
                let (cells, syncs) = (cells.join(" | "), syncs.join(" / "));
                line(text, format_args!("| {system} | {cells} | {syncs} | {durability} |"));
            }
        }
        let sync_ms = median(table.sync_ms.clone());
        let how = if table.steady { ", before strace made it 0.145 ms" } else { "" };
        line(text, format_args!("\nA write of 4 KiB and its sync took {sync_ms:.3} ms (median){how}."));
        let spread = spread(&table.rates);
        let quiet = if spread < QUIET { "quiet" } else { "busy, and the rates are worth as little" };
        line(
            text,
            format_args!(
                "The best repetition of a cell was {spread:.2} times its worst (median): the machine was {quiet}."
            ),
        );
    }

    fn ratios(&self, text: &mut String) {
        *text += "\n| ratio | goal | measured | least to most |\n|---|--:|--:|--:|\n";
        for ratio in RATIOS {
            if let Some(came) = ratio.of(&self.table) {
                let (name, goal) = (ratio.name, ratio.goal.map_or_else(String::new, |goal| goal.to_string()));
                let (value, least, most) = (came.value, came.least, came.most);
                line(text, format_args!("| {name} | {goal} | {value:.2} | {least:.2} to {most:.2} |"));
            }
        }
    }

    fn parts(&self, text: &mut String) {
        *text += "\n| what | measured | beside | ratio | goal | met |\n|---|--:|--:|--:|---|---|\n";
        for fact in &self.facts {
            let goal = match fact.goal {
                Some(Goal::AtMost(most)) => format!("at most {most} {}", fact.unit),
                Some(Goal::RatioAtMost(most)) => format!("at most {most} times"),
                Some(Goal::RatioAtLeast(least)) => format!("at least {least} times"),
                None => String::new(),
            };
            let met = fact.is_met().map_or("", |met| if met { "yes" } else { "**no**" });
            let optional = |number: Option<f64>| number.map_or_else(String::new, short);
            let (beside, ratio) = (optional(fact.beside), optional(fact.ratio()));
            let (what, value, unit) = (&fact.what, short(fact.value), &fact.unit);
            line(text, format_args!("| {what} | {value} {unit} | {beside} | {ratio} | {goal} | {met} |"));
        }
    }

    pub(crate) fn json(&self) -> Value {
        let table = &self.table;
        let rows: Vec<Value> = ROWS
            .iter()
            .flat_map(|row| MANY.iter().map(move |workers| (row, workers)))
            .filter_map(|(row, workers)| {
                let place = (row.id, *workers);
                Some(json!({
                    "row": row.id, "system": row.system, "durability": row.durability, "workers": workers,
                    "cycles_per_s": table.rate(place)?, "repetitions": table.rates.get(&place),
                    "syncs_per_cycle": table.syncs_per_cycle.get(&place),
                }))
            })
            .collect();
        let ratios: Vec<Value> = RATIOS
            .iter()
            .filter_map(|ratio| {
                let came = ratio.of(table)?;
                Some(json!({
                    "ratio": ratio.name, "goal": ratio.goal, "value": came.value, "least": came.least,
                    "most": came.most,
                }))
            })
            .collect();
        let notes: Vec<&String> = table.notes.iter().chain(&self.notes).collect();
        json!({
            "sync_ms": table.sync_ms, "steady": table.steady, "rows": rows, "ratios": ratios,
            "parts": self.facts, "instructions": self.counted, "notes": notes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_takes_the_place_of_the_one_between_the_marks() {
        let text = format!("a\n{}old\n{}\nb\n", MARKS[0], MARKS[1]);
        assert_eq!(between_marks(&text, "new\n").unwrap(), text.replace("old", "new"));
        assert!(between_marks("a\n", "new\n").is_err());
    }

    #[test]
    fn numbers_read_well_at_every_size() {
        let texts = [0.008, 1.5, 27.15, 999.4, 1_234_567.0].map(short);
        assert_eq!(texts, ["0.008", "1.50", "27.1", "999", "1,234,567"]);
    }
}
