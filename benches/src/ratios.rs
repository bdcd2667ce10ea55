//! What is promised, as ratios of rows of one run: a machine that is busy or slow changes both sides.

use crate::disk::median;
use crate::table::{Place, Table};

/// A promise: one cell over the best of others.
pub(crate) struct Ratio {
    pub(crate) name: &'static str,
    above: Place,
    /// The best of them counts.
    below: &'static [Place],
    pub(crate) goal: Option<f64>,
    /// Whether it is committed and checked.
    pub(crate) is_checked: bool,
}

const REDB: Place = ("redb-direct", 1);
const FULL: Place = ("sqlite-full-direct", 1);
const SQLX: Place = ("sqlite-full-sqlx", 1);

const fn ratio(name: &'static str, above: Place, below: &'static [Place], goal: f64) -> Ratio {
    Ratio { name, above, below, goal: Some(goal), is_checked: true }
}

impl Ratio {
    /// Checked without a goal: what is beside it pays as much as we do for what a machine takes to wake a thread.
    const fn guard(name: &'static str, above: Place, below: &'static [Place]) -> Self {
        Ratio { name, above, below, goal: None, is_checked: true }
    }

    /// Shown only: how hundreds of threads fare says more about the machine, and about who else uses it, than about us.
    const fn shown_only(mut self) -> Self {
        self.is_checked = false;
        self
    }
}

pub(crate) const RATIOS: &[Ratio] = &[
    ratio("redb, 1 task : raw redb", ("magnetar-redb", 1), &[REDB], 0.85),
    ratio("redb, 1 in block_on : raw redb", ("magnetar-redb-block", 1), &[REDB], 0.85),
    ratio("SQLite, 1 task : SQLite FULL by hand", ("magnetar-sqlite", 1), &[FULL], 0.85),
    ratio("SQLite, 1 in block_on : SQLite FULL by hand", ("magnetar-sqlite-block", 1), &[FULL], 0.85),
    // Not promised: what of it sqlx decides.
    Ratio {
        name: "SQLite by hand through sqlx, 1 caller : SQLite FULL by hand",
        above: SQLX,
        below: &[FULL],
        goal: None,
        is_checked: false,
    },
    Ratio::guard("SQLite, 1 task : SQLite by hand through sqlx", ("magnetar-sqlite", 1), &[SQLX]),
    Ratio::guard(
        "SQLite, 1 in block_on : SQLite by hand through sqlx",
        ("magnetar-sqlite-block", 1),
        &[SQLX],
    ),
    Ratio::guard(
        "SQLite, complete_and_claim, 1 task : SQLite by hand through sqlx",
        ("magnetar-sqlite-next", 1),
        &[SQLX],
    ),
    Ratio::guard(
        "SQLite, complete_and_claim, 1 in block_on : SQLite by hand through sqlx",
        ("magnetar-sqlite-next-block", 1),
        &[SQLX],
    ),
    ratio("redb, complete_and_claim, 1 task : SQLite FULL by hand", ("magnetar-redb-next", 1), &[FULL], 1.5),
    ratio(
        "redb, complete_and_claim, 1 in block_on : SQLite FULL by hand",
        ("magnetar-redb-next-block", 1),
        &[FULL],
        1.5,
    ),
    ratio(
        "SQLite, complete_and_claim, 1 task : SQLite FULL by hand",
        ("magnetar-sqlite-next", 1),
        &[FULL],
        1.5,
    ),
    ratio(
        "SQLite, complete_and_claim, 1 in block_on : SQLite FULL by hand",
        ("magnetar-sqlite-next-block", 1),
        &[FULL],
        1.5,
    ),
    ratio(
        "redb, 64 tasks : group commit by hand, threads",
        ("magnetar-redb", 64),
        &[("redb-group-threads", 64)],
        0.9,
    )
    .shown_only(),
    ratio(
        "redb, 64 tasks : group commit by hand, tasks",
        ("magnetar-redb", 64),
        &[("redb-group-tasks", 64)],
        0.9,
    ),
    ratio(
        "redb, 256 tasks : group commit by hand, threads",
        ("magnetar-redb", 256),
        &[("redb-group-threads", 256)],
        0.8,
    )
    .shown_only(),
    ratio(
        "redb, 256 tasks : group commit by hand, tasks",
        ("magnetar-redb", 256),
        &[("redb-group-tasks", 256)],
        0.8,
    ),
    ratio(
        "redb, 256 tasks : best relaxed row, threads and programs",
        ("magnetar-redb", 256),
        RELAXED_256,
        1.5,
    )
    .shown_only(),
    ratio(
        "redb, 256 tasks, complete_and_claim : best relaxed row, threads and programs",
        ("magnetar-redb-next", 256),
        RELAXED_256,
        1.5,
    )
    .shown_only(),
    // Not promised: with tasks around it, a writer that never waits for the disk is near what redb does in batches.
    Ratio {
        name: "redb, 256 tasks : SQLite NORMAL by hand, tasks (relaxed)",
        above: ("magnetar-redb", 256),
        below: &[("sqlite-normal-group-tasks", 256)],
        goal: None,
        is_checked: false,
    },
    // Not promised either: what is left when nobody waits for the disk.
    Ratio {
        name: "redb relaxed, 1 in block_on : SQLite NORMAL by hand",
        above: ("magnetar-redb-relaxed-block", 1),
        below: &[("sqlite-normal-direct", 1)],
        goal: None,
        is_checked: false,
    },
    ratio(
        "SQLite, 64 tasks : group commit by hand, threads",
        ("magnetar-sqlite", 64),
        &[("sqlite-full-group-threads", 64)],
        0.7,
    )
    .shown_only(),
    ratio(
        "SQLite, 64 tasks : group commit by hand, tasks",
        ("magnetar-sqlite", 64),
        &[("sqlite-full-group-tasks", 64)],
        0.7,
    ),
    ratio(
        "SQLite, 256 tasks : group commit by hand, threads",
        ("magnetar-sqlite", 256),
        &[("sqlite-full-group-threads", 256)],
        0.7,
    )
    .shown_only(),
    ratio(
        "SQLite, 256 tasks : group commit by hand, tasks",
        ("magnetar-sqlite", 256),
        &[("sqlite-full-group-tasks", 256)],
        0.7,
    ),
    ratio(
        "redb, 64 tasks : without the change feed",
        ("magnetar-redb", 64),
        &[("magnetar-redb-without-feed", 64)],
        0.85,
    )
    .shown_only(),
    ratio(
        "SQLite, 64 tasks : without the change feed",
        ("magnetar-sqlite", 64),
        &[("magnetar-sqlite-without-feed", 64)],
        0.85,
    )
    .shown_only(),
    ratio("redb, batches of 256 : the ceiling", ("magnetar-redb-batch", 1), &[("redb-batch", 1)], 0.55),
    ratio(
        "SQLite, batches of 256 : the same by hand",
        ("magnetar-sqlite-batch", 1),
        &[("sqlite-full-batch", 1)],
        0.55,
    ),
];

const RELAXED_256: &[Place] = &[
    ("sqlite-normal-direct", 256),
    ("sqlite-normal-group-threads", 256),
    ("effectum", 256),
    ("apalis-sqlite", 256),
];

/// What a promise came to: the median of the repetitions' ratios, and the least and the most of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Came {
    pub(crate) value: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Ratio {
    /// The cells that it needs.
    pub(crate) fn places(&self) -> impl Iterator<Item = Place> {
        std::iter::once(self.above).chain(self.below.iter().copied())
    }

    /// `None` where a side was not measured.
    pub(crate) fn of(&self, table: &Table) -> Option<Came> {
        let above = table.rates.get(&self.above)?;
        let below: Vec<_> = self.below.iter().filter_map(|place| table.rates.get(place)).collect();
        if below.is_empty() {
            return None;
        }
        // Only what was measured in the same repetition is compared.
        let best =
            |at: usize| below.iter().filter_map(|rates| rates.get(at).copied()).fold(f64::MIN, f64::max);
        let ratios: Vec<f64> = (0..above.len().min(below.iter().map(|rates| rates.len()).max().unwrap_or(0)))
            .map(|at| above[at] / best(at))
            .collect();
        Some(Came {
            value: median(ratios.clone()),
            least: ratios.iter().copied().fold(f64::MAX, f64::min),
            most: ratios.iter().copied().fold(f64::MIN, f64::max),
        })
    }
}
