//! A chunk as a row: its fields in a fixed order, without their names. The face names them again.

use std::io::Write;

use magnetar::{Deadline, JobState, JobStats, Json};

/// Adds a chunk as one line of JSON, without its end. The order of the fields is the one of `chunk.ts`.
///
/// By hand: a list has 200,000 of these fields, and what is kept as JSON was checked when it was written.
pub(crate) fn write(state: &JobState, out: &mut Vec<u8>) {
    out.push(b'[');
    signed(state.job_id, out);
    number(state.chunk, out);
    out.push(b'"');
    out.extend_from_slice(state.status.as_str().as_bytes());
    out.extend_from_slice(b"\",");
    number(state.fence, out);
    json(state.payload.as_ref(), out);
    text(state.checksum.as_deref(), out);
    signed(state.priority.into(), out);
    text(state.observed_checksum.as_deref(), out);
    text(state.error.as_deref(), out);
    for count in [state.attempts, state.losses, state.attempts_max, state.losses_max] {
        number(count.into(), out);
    }
    match state.owner {
        // Memory takes everything.
        Some(owner) => drop(write!(out, "\"{owner}\",")),
        None => out.extend_from_slice(NULL),
    }
    for deadline in [state.lease, state.not_before] {
        match deadline.map(Deadline::at_ms) {
            Some(at_ms) => number(at_ms, out),
            None => out.extend_from_slice(NULL),
        }
    }
    number(state.unmet_dependencies.into(), out);
    json(state.output.as_ref(), out);
    for last in [state.created_at_ms, state.updated_at_ms, state.revision] {
        number(last, out);
    }
    out.pop();
    out.push(b']');
}

const NULL: &[u8] = b"null,";

/// Adds a number, with a comma after it.
#[allow(clippy::cast_possible_truncation, reason = "a digit")]
pub(crate) fn number(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [b','; 21];
    let mut at = 20;
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn signed(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    number(value.unsigned_abs(), out);
}

fn text(value: Option<&str>, out: &mut Vec<u8>) {
    let start = out.len();
    // Text has always a JSON form, and memory takes everything.
    if let Some(Ok(())) = value.map(|value| serde_json::to_writer(&mut *out, value)) {
        out.push(b',');
    } else {
        out.truncate(start);
        out.extend_from_slice(NULL);
    }
}

fn json(value: Option<&Json>, out: &mut Vec<u8>) {
    let Some(value) = value.map(|value| value.as_str().as_bytes()) else {
        return out.extend_from_slice(NULL);
    };
    let start = out.len();
    out.extend_from_slice(value);
    on_one_line(&mut out[start..]);
    out.push(b',');
}

/// Takes line ends out of JSON: they stand between the tokens of what somebody wrote by hand, within a string there is
/// none.
pub(crate) fn on_one_line(json: &mut [u8]) {
    if json.contains(&b'\n') {
        json.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
    }
}

/// How many chunks stand where, in the order of `stats.ts`.
pub(crate) fn stats(stats: &JobStats) -> [u64; 9] {
    let JobStats {
        total_chunks,
        pending,
        processing,
        done,
        failed,
        cancelled,
        blocked,
        delayed,
        settling,
        ..
    } = *stats;
    [total_chunks, pending, processing, done, failed, cancelled, blocked, delayed, u64::from(settling)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_json_has_them() {
        for value in [0, 7, 10, 4096, 1 << 53, u64::MAX] {
            let mut out = Vec::new();
            number(value, &mut out);
            assert_eq!(out, format!("{value},").into_bytes());
        }
        for value in [0, -1, -20, i64::from(i32::MIN), i64::MAX] {
            let mut out = Vec::new();
            signed(value, &mut out);
            assert_eq!(out, format!("{value},").into_bytes());
        }
    }

    #[test]
    fn what_has_line_ends_stays_on_one_line() {
        let mut out = Vec::new();
        json(Some(&Json::from_text("{\n \"a\": \"b\\nc\"\n}").unwrap()), &mut out);
        text(Some("d\ne\"f"), &mut out);
        text(None, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "{  \"a\": \"b\\nc\" },\"d\\ne\\\"f\",null,");
    }
}
