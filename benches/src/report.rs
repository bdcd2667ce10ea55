//! The results for people (Markdown) and for programs (JSON).

use std::fmt::Write;

use serde_json::{Value, json};

use crate::disk::median;
use crate::ratios::RATIOS;
use crate::rows::{MANY, ROWS};
use crate::table::Table;

#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) table: Table,
}

/// With a separator at the thousands, as people read rates.
fn rate(rate: f64) -> String {
    let digits = format!("{rate:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl Report {
    pub(crate) fn markdown(&self) -> String {
        let table = &self.table;
        let mut text =
            String::from("| system | 1 worker, cycles/s | 8 | 64 | 256 | syncs per cycle | durable |\n");
        text += "|---|--:|--:|--:|--:|--:|---|\n";
        for row in ROWS {
            let cell = |workers: &usize| table.rate((row.id, *workers)).map_or_else(String::new, rate);
            let syncs: Vec<String> = MANY
                .iter()
                .filter_map(|workers| table.syncs_per_cycle.get(&(row.id, *workers)))
                .map(|syncs| format!("{syncs:.3}"))
                .collect();
            let cells: Vec<String> = MANY.iter().map(cell).collect();
            if cells.iter().any(|cell| !cell.is_empty()) {
                let (system, durability) = (row.system, row.durability);
                line(
                    &mut text,
                    format_args!(
                        "| {system} | {} | {} | {durability} |",
                        cells.join(" | "),
                        syncs.join(" / ")
                    ),
                );
            }
        }
        line(
            &mut text,
            format_args!("\nA sync of 4 KiB took {:.3} ms (median).", median(table.sync_ms.clone())),
        );
        for note in &table.notes {
            line(&mut text, format_args!("{note}."));
        }
        text += "\n| ratio | goal | measured | least to most |\n|---|--:|--:|--:|\n";
        for ratio in RATIOS {
            if let Some(came) = ratio.of(table) {
                let (name, goal, value) = (ratio.name, ratio.goal, came.value);
                line(
                    &mut text,
                    format_args!("| {name} | {goal} | {value:.2} | {:.2} to {:.2} |", came.least, came.most),
                );
            }
        }
        text
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
                Some(json!({"ratio": ratio.name, "goal": ratio.goal, "value": came.value, "least": came.least, "most": came.most}))
            })
            .collect();
        json!({"sync_ms": median(table.sync_ms.clone()), "rows": rows, "ratios": ratios, "notes": table.notes})
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("memory takes text");
}
