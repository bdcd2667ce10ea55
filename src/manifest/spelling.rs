//! Keys of a chunk that are nearly one of ours: in the payload nobody would miss what they were to say.

/// Our keys without separators, and the names that the same settings have in this crate. `id` is too short to be nearly
/// written; a chunk that has none is an error anyway.
const NAMES: [(&str, &str); 11] = [
    ("checksum", "checksum"),
    ("dependson", "depends_on"),
    ("priority", "priority"),
    ("maxattempts", "max_attempts"),
    ("maxlosses", "max_losses"),
    ("ondependencyfailure", "on_dependency_failure"),
    ("notbefore", "not_before"),
    ("payload", "payload"),
    ("attemptsmax", "max_attempts"),
    ("lossesmax", "max_losses"),
    ("notbeforems", "not_before"),
];

/// What to say of a further key that is nearly one of ours.
pub(super) fn fault(key: &str) -> Option<String> {
    let (_, meant) = NAMES.iter().find(|(name, _)| is_nearly(key, name))?;
    Some(format!(
        "no key of a chunk, and nearly {meant}; write {meant}, or put it into payload, where it may have any name"
    ))
}

/// Whether a key is a name but for case and separators, and but for one slip: a letter that is wrong, missing or between
/// two others, or two that are turned around. A letter behind the end makes another word of it: `checksums`.
fn is_nearly(key: &str, name: &str) -> bool {
    if key.len() + 1 < name.len() {
        return false;
    }
    let letters = || key.bytes().filter(|byte| !b"_- .".contains(byte)).map(|byte| byte.to_ascii_lowercase());
    let count = letters().count();
    if count.abs_diff(name.len()) > 1 {
        return false;
    }
    let front = letters().zip(name.bytes()).take_while(|(one, other)| one == other).count();
    let most = count.min(name.len()) - front;
    let back =
        letters().rev().zip(name.bytes().rev()).take(most).take_while(|(one, other)| one == other).count();
    match (count - front - back, name.len() - front - back) {
        (0, 0 | 1) | (1, 1) => true,
        (1, 0) => front > 0 && back > 0,
        (2, 2) => letters().skip(front).take(2).eq(name.bytes().skip(front).take(2).rev()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::read::CHUNK_KEYS;

    #[test]
    fn a_key_with_one_slip_is_told_from_a_key_of_its_own() {
        for (slip, meant) in [
            ("dependsOn", "depends_on"),
            ("depends-on", "depends_on"),
            ("depend_on", "depends_on"),
            ("depends_no", "depends_on"),
            ("Checksum", "checksum"),
            ("cheksum", "checksum"),
            ("checkksum", "checksum"),
            ("priorty", "priority"),
            ("prioroty", "priority"),
            ("MAX ATTEMPTS", "max_attempts"),
            ("max_attempt", "max_attempts"),
            ("attempts_max", "max_attempts"),
            ("lossesMax", "max_losses"),
            ("on.dependency.failure", "on_dependency_failure"),
            ("on_dependancy_failure", "on_dependency_failure"),
            ("notBefore", "not_before"),
            ("not_before_ms", "not_before"),
            ("Payload", "payload"),
            ("paylaod", "payload"),
        ] {
            let fault = fault(slip).unwrap_or_else(|| panic!("{slip} is taken for a key of its own"));
            assert!(fault.contains(&format!("nearly {meant};")), "{slip}: {fault}");
        }
        for own in [
            "",
            "_",
            "id",
            "ID",
            "_id",
            "path",
            "url",
            "sha256",
            "checksums",
            "checksum2",
            "checksum_of_parts",
            "xchecksum",
            "payloads",
            "upload",
            "priorities",
            "prioritized",
            "depends",
            "dependencies",
            "attempts",
            "losses",
            "not_after",
            "before",
            "gr\u{f6}\u{df}e",
            "priorit\u{e9}",
        ] {
            assert_eq!(fault(own), None, "{own}");
        }
    }

    #[test]
    fn every_key_of_ours_but_the_id_is_among_the_names() {
        for key in CHUNK_KEYS.into_iter().filter(|key| *key != "id") {
            assert!(NAMES.contains(&(&*key.replace('_', ""), key)), "{key}");
        }
    }
}
