//! A store in a file of an operating system. This module is the gate to what differs between them.

#[cfg(not(unix))]
mod portable;
#[cfg(unix)]
mod unix;

mod medium;

#[cfg(not(unix))]
use portable as system;
#[cfg(unix)]
use unix as system;

#[cfg(test)]
mod tests;
#[cfg(all(test, unix))]
mod tests_unix;
