//! Magnetar for JavaScript: converts, calls, converts. No rule of a job is here.
//!
//! One call from the worker's JavaScript brings everything that its clients asked for in one tick, as JSON text, and
//! takes all answers back, as lines of JSON: whoever waited at the same moment shares one commit and one crossing.
//! Nothing here waits: the storage that the host brings is synchronous, and so is every call.

mod answer;
mod behind;
mod call;
mod feed;
mod host;
mod living;
mod row;
mod store;

pub use store::JobStore;

use wasm_bindgen::prelude::wasm_bindgen;

/// Has a panic's text reach the host before the trap that follows ends the module.
#[wasm_bindgen(start)]
pub fn start() {
    std::panic::set_hook(Box::new(|info| host::panicked(&info.to_string())));
}
