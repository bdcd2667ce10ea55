//! Seeds and sizes: every random choice comes from a seed that is printed and can be given back.

/// The seed of this run: `MAGNETAR_SEED` where it is set. Printed under the name of who asks.
pub(crate) fn seed(who: &str) -> u64 {
    let seed = match std::env::var("MAGNETAR_SEED") {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("MAGNETAR_SEED={text:?} is not a number: use 0 to 2^64 - 1")),
        Err(_) => fastrand::u64(..),
    };
    println!("{who}: seed {seed} (MAGNETAR_SEED={seed} repeats it)");
    seed
}

/// How much is to be done: little by default, a lot with `MAGNETAR_PROOF=full`.
pub(crate) fn rounds(little: usize, full: usize) -> usize {
    match std::env::var("MAGNETAR_PROOF").as_deref() {
        Err(_) | Ok("") => little,
        Ok("full") => full,
        Ok(other) => panic!("MAGNETAR_PROOF={other:?} is not known: use full, or leave it out"),
    }
}
