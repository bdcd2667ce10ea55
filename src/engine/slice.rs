//! How much of a long list one commit takes.

use crate::limits;

/// Rows of the first question.
const FIRST_ROWS: usize = 32;

/// As much as a question costs by itself, in rows.
const QUESTION_ROWS: usize = 16;

/// One slice of a list: it begins with few rows and asks for as many again each time, so that little is read for which
/// there is no room, and ends by their number, the length of their texts, or how many dependencies they have.
#[derive(Debug, Default)]
pub(super) struct Slice {
    questions: usize,
    rows: usize,
    text_bytes: usize,
    dependencies: usize,
}

impl Slice {
    /// How many rows come next; `None` where the slice is full.
    pub(super) fn asks_for(&self) -> Option<usize> {
        let left = |used: usize, max: usize| max.saturating_sub(used);
        let fits = |used: usize, max: usize| match used.div_ceil(self.rows.max(1)) {
            0 => usize::MAX,
            of_each => left(used, max).div_ceil(of_each),
        };
        let rows = self
            .rows
            .max(FIRST_ROWS)
            .min(left(self.rows + self.questions * QUESTION_ROWS, limits::SLICE_ROWS_MAX))
            .min(fits(self.text_bytes, limits::SLICE_BYTES_MAX))
            .min(fits(self.dependencies, limits::DEPENDENCIES_PER_COMMIT_MAX));
        (rows > 0).then_some(rows)
    }

    /// What a question was answered with.
    pub(super) fn add(&mut self, rows: usize, text_bytes: usize, dependencies: usize) {
        self.questions += 1;
        self.rows += rows;
        self.text_bytes += text_bytes;
        self.dependencies += dependencies;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The questions of one slice where each row has so much, and what it came to.
    fn questions(bytes_each: usize, dependencies_each: usize) -> (usize, usize) {
        let (mut slice, mut questions, mut rows) = (Slice::default(), 0, 0);
        while let Some(limit) = slice.asks_for() {
            slice.add(limit, limit * bytes_each, limit * dependencies_each);
            questions += 1;
            rows += limit;
        }
        (questions, rows)
    }

    #[test]
    fn light_rows_are_had_with_few_questions_and_heavy_ones_end_the_slice_early() {
        let (asked, rows) = questions(100, 2);
        assert!(asked <= 10 && rows > limits::SLICE_ROWS_MAX - 200, "{asked} questions for {rows} rows");
        for (bytes, dependencies, most) in [
            (1 << 20, 0, FIRST_ROWS),
            (100 << 10, 0, limits::SLICE_BYTES_MAX / (100 << 10) * 11 / 10),
            (100, limits::DEPENDENCIES_PER_CHUNK_MAX, FIRST_ROWS),
            (100, 1_000, limits::DEPENDENCIES_PER_COMMIT_MAX / 1_000 * 11 / 10),
        ] {
            let (asked, rows) = questions(bytes, dependencies);
            assert!(
                (1..=most).contains(&rows) && asked <= 10,
                "{asked} questions for {rows} rows of {bytes}"
            );
        }
    }

    #[test]
    fn lists_of_nothing_end_too() {
        let (mut slice, mut questions) = (Slice::default(), 0);
        while slice.asks_for().is_some() {
            slice.add(0, 0, 0);
            questions += 1;
        }
        assert_eq!(questions, limits::SLICE_ROWS_MAX / QUESTION_ROWS);
    }
}
