//! What the host brings: the time, and storage by six synchronous functions.

use std::io;

use magnetar::Clock;
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};

use crate::behind::{Bytes, Shared};

#[wasm_bindgen(raw_module = "./storage.js")]
extern "C" {
    /// How many bytes there are.
    #[wasm_bindgen(catch)]
    fn storage_len(handle: u32) -> Result<f64, JsValue>;
    /// Reads to a buffer from an offset; gives how many bytes there were.
    #[wasm_bindgen(catch)]
    fn storage_read(handle: u32, offset: f64, bytes: &mut [u8]) -> Result<f64, JsValue>;
    /// Writes a buffer at an offset; gives how many bytes were taken.
    #[wasm_bindgen(catch)]
    fn storage_write(handle: u32, offset: f64, bytes: &[u8]) -> Result<f64, JsValue>;
    /// Makes it longer, with zeros, or shorter.
    #[wasm_bindgen(catch)]
    fn storage_set_len(handle: u32, len: f64) -> Result<(), JsValue>;
    /// Returns once everything that was written is durable.
    #[wasm_bindgen(catch)]
    fn storage_sync(handle: u32) -> Result<(), JsValue>;
    /// Releases the handle.
    #[wasm_bindgen(catch)]
    fn storage_close(handle: u32) -> Result<(), JsValue>;
    /// Keeps the text of a panic for whoever finds the trap.
    #[wasm_bindgen(js_name = panicked)]
    pub(crate) fn panicked(text: &str);
}

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = Date, js_name = now)]
    fn date_now() -> f64;
    #[wasm_bindgen(js_namespace = Reflect, js_name = get, catch)]
    fn get(target: &JsValue, key: &str) -> Result<JsValue, JsValue>;
}

/// The host's clock.
#[derive(Debug)]
pub(crate) struct HostClock;

impl Clock for HostClock {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds since 1970")]
    fn now_ms(&self) -> u64 {
        date_now() as u64
    }
}

/// The host's functions under one handle.
#[derive(Debug)]
pub(crate) struct Handle(u32);

impl Bytes for Handle {
    fn len(&self) -> io::Result<u64> {
        storage_len(self.0).map_err(failed).and_then(count)
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let read = storage_read(self.0, place(offset)?, bytes).map_err(failed).and_then(count)?;
        usize::try_from(read).map_err(io::Error::other)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let written = storage_write(self.0, place(offset)?, bytes).map_err(failed).and_then(count)?;
        usize::try_from(written).map_err(io::Error::other)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        storage_set_len(self.0, place(len)?).map_err(failed)
    }

    fn sync(&self) -> io::Result<()> {
        storage_sync(self.0).map_err(failed)
    }

    /// The handle stays: an opening may give its storage back and take it once more. Whoever opened it releases it.
    fn close(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Releases a handle of the host's, for good.
pub(crate) fn release(handle: u32) -> io::Result<()> {
    storage_close(handle).map_err(failed)
}

/// An offset as JavaScript counts.
#[allow(clippy::cast_precision_loss, reason = "checked to be exact")]
fn place(offset: u64) -> io::Result<f64> {
    if offset <= magnetar::limits::ID_MAX {
        Ok(offset as f64)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "the offset is beyond 2^53"))
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
fn count(number: f64) -> io::Result<u64> {
    if number >= 0.0 && number.fract() == 0.0 && number <= 9_007_199_254_740_991.0 {
        Ok(number as u64)
    } else {
        Err(io::Error::other(format!("the host gave {number} for a count of bytes")))
    }
}

/// What the host threw, with the name that tells what it was: a `DOMException`'s or a system error's.
#[allow(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
fn failed(thrown: JsValue) -> io::Error {
    let text = |key: &str| get(&thrown, key).ok().and_then(|value| value.as_string());
    let name = text("code").or_else(|| text("name")).unwrap_or_else(|| "Error".to_owned());
    let message = text("message").or_else(|| thrown.as_string()).unwrap_or_default();
    let kind = match name.as_str() {
        "QuotaExceededError" | "NS_ERROR_FILE_NO_DEVICE_SPACE" | "ENOSPC" | "EDQUOT" | "EFBIG" => {
            io::ErrorKind::StorageFull
        }
        "NotFoundError" | "ENOENT" => io::ErrorKind::NotFound,
        "NoModificationAllowedError" | "InvalidStateError" | "EBUSY" => io::ErrorKind::ResourceBusy,
        "EACCES" | "EPERM" | "NotAllowedError" | "SecurityError" => io::ErrorKind::PermissionDenied,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, format!("{name}: {message}"))
}

/// The host's storage, with writes gathered until a sync.
pub(crate) fn storage(handle: u32) -> io::Result<Shared<Handle>> {
    Shared::new(Handle(handle))
}
