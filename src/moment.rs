//! Moments as text: RFC 3339 in UTC.

use std::io::Write;

const DAY_MS: u64 = 86_400_000;

/// The last moment that the standard has a form for.
pub(crate) const MAX_MS: u64 = 253_402_300_799_999;

/// Writes a moment in milliseconds since the Unix epoch as `2026-01-31T23:59:59.000Z`.
///
/// A year beyond 9999 has a sign and six digits, as in ECMAScript: RFC 3339 has no form for it.
pub(crate) fn write_utc(out: &mut Vec<u8>, ms: u64) {
    let (year, month, day) = date(ms / DAY_MS);
    let of_day = ms % DAY_MS;
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, milli) = (of_day / 1_000 % 60, of_day % 1_000);
    let year = if year > 9999 { format!("+{year:06}") } else { format!("{year:04}") };
    write!(out, "{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
        .expect("memory takes every text");
}

/// The same as text of its own.
pub(crate) fn utc(ms: u64) -> String {
    let mut out = Vec::new();
    write_utc(&mut out, ms);
    String::from_utf8(out).unwrap_or_default()
}

/// Reads a moment of RFC 3339, in whatever offset, as milliseconds since the Unix epoch. What is finer is cut off. Nothing
/// where it is none, has no offset or lies before the epoch.
pub(crate) fn read(text: &str) -> Option<u64> {
    let mut rest = text.as_bytes();
    let rest = &mut rest;
    let year = digits(rest, 4)?;
    let month = symbol(rest, b"-").and_then(|_| digits(rest, 2))?;
    let day = symbol(rest, b"-").and_then(|_| digits(rest, 2))?;
    let hour = symbol(rest, b"Tt ").and_then(|_| digits(rest, 2))?;
    let minute = symbol(rest, b":").and_then(|_| digits(rest, 2))?;
    let second = symbol(rest, b":").and_then(|_| digits(rest, 2))?;
    let mut millis = 0;
    if symbol(rest, b".").is_some() {
        let mut unit = 100;
        millis = unit * digits(rest, 1)?;
        while let Some(digit) = digits(rest, 1) {
            unit /= 10;
            millis += unit * digit;
        }
    }
    let sign = symbol(rest, b"Zz+-")?;
    let mut offset = 0_u64;
    if matches!(sign, b'+' | b'-') {
        let hours = digits(rest, 2)?;
        let minutes = symbol(rest, b":").and_then(|_| digits(rest, 2))?;
        if hours >= 24 || minutes >= 60 {
            return None;
        }
        offset = (hours * 60 + minutes) * 60_000;
    }
    let is_day = (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    if !rest.is_empty() || !is_day || hour >= 24 || minute >= 60 || second > 60 {
        return None;
    }
    let of_day = ((hour * 60 + minute) * 60 + second) * 1_000 + millis;
    let local = days_since_year_0(year, month, day)? * DAY_MS + of_day;
    let utc = if sign == b'+' { local.checked_sub(offset)? } else { local + offset };
    utc.checked_sub(DAYS_TO_EPOCH * DAY_MS)
}

/// Takes so many digits off, if there are.
fn digits(rest: &mut &[u8], count: usize) -> Option<u64> {
    let (digits, others) = rest.split_at_checked(count)?;
    let mut number = 0;
    for digit in digits {
        number = number * 10 + u64::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    *rest = others;
    Some(number)
}

/// Takes one of some symbols off, if there is one.
fn symbol(rest: &mut &[u8], symbols: &[u8]) -> Option<u8> {
    let (first, others) = rest.split_first()?;
    symbols.contains(first).then(|| *rest = others)?;
    Some(*first)
}

const fn days_of(year: u64, month: u64) -> u64 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => 31,
    }
}

/// Since the first of March of the year 0; nothing before it.
fn days_since_year_0(year: u64, month: u64, day: u64) -> Option<u64> {
    // The year begins in March, as below.
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    Some(year * 365 + year / 4 - year / 100 + year / 400 + day_of_year)
}

/// Days from the first of March of the year 0 to the Unix epoch.
const DAYS_TO_EPOCH: u64 = 719_468;

/// Year, month and day of a day since the Unix epoch, in the Gregorian calendar.
///
/// Counted in years that begin in March, so that the leap day is the last of its year.
const fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    let days = days + DAYS_TO_EPOCH;
    let (era, day_of_era) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_other_programs_write_them() {
        // Compared with GNU date.
        assert_eq!(utc(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(951_782_399_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(utc(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(utc(951_868_800_001), "2000-03-01T00:00:00.001Z");
        assert_eq!(utc(1_709_164_800_000), "2024-02-29T00:00:00.000Z");
        assert_eq!(utc(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
        assert_eq!(utc(253_402_300_799_999), "9999-12-31T23:59:59.999Z");
        assert_eq!(utc(253_402_300_800_000), "+010000-01-01T00:00:00.000Z");
    }

    #[test]
    fn every_day_of_eight_centuries_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for number in 0..800 * 365 {
            assert_eq!(date(number), (year, month, day), "day {number}");
            assert_eq!(days_since_year_0(year, month, day), Some(DAYS_TO_EPOCH + number));
            day += 1;
            if day > days_of(year, month) {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
    }

    #[test]
    fn what_was_written_is_read_again() {
        for ms in [0, 1, 951_782_399_999, 951_782_400_000, 1_709_164_800_123, MAX_MS] {
            assert_eq!(read(&utc(ms)), Some(ms));
        }
    }

    #[test]
    fn moments_are_read_in_each_form_of_the_standard() {
        let noon = Some(1_796_126_400_000);
        for text in [
            "2026-12-01T12:00:00Z",
            "2026-12-01t12:00:00z",
            "2026-12-01 12:00:00.000Z",
            "2026-12-01T12:00:00.000999-00:00",
            "2026-12-01T13:30:00+01:30",
            "2026-11-30T23:00:00-13:00",
        ] {
            assert_eq!(read(text), noon, "{text}");
        }
        assert_eq!(read("2026-12-01T12:00:00.5Z"), noon.map(|ms| ms + 500));
        assert_eq!(read("2016-12-31T23:59:60Z"), read("2017-01-01T00:00:00Z"), "a leap second");
        assert_eq!(read("1969-12-31T23:30:00-01:00"), Some(1_800_000), "where it is still the day before");
        assert_eq!(read("1970-01-01T00:00:00+00:01"), None, "before the epoch");
        assert_eq!(read("1969-12-31T23:59:59.999Z"), None, "before the epoch");
        assert_eq!(read("0000-01-01T00:00:00Z"), None, "long before the epoch");
    }

    #[test]
    fn what_is_no_moment_is_not_read_as_one() {
        for text in [
            "",
            "2026-12-01",
            "2026-12-01T12:00:00",
            "2026-12-01T12:00Z",
            "2026-12-01T12:00:00 Z",
            "2026-13-01T12:00:00Z",
            "2026-02-29T12:00:00Z",
            "2026-12-00T12:00:00Z",
            "2026-12-01T24:00:00Z",
            "2026-12-01T12:60:00Z",
            "2026-12-01T12:00:61Z",
            "2026/12/01T12:00:00Z",
            "2026-12-01T12-00-00Z",
            "2026-12-01T12:00:00.Z",
            "2026-12-01T12:00:00+1:00",
            "2026-12-01T12:00:00+0100",
            "2026-12-01T12:00:00+24:00",
            "2026-12-01T12:00:00\u{2212}01:00",
            "+2026-12-01T12:00:00Z",
            "2026-12-01T12:00:0\u{e9}Z",
            "tomorrow morning at seven",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
