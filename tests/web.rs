//! The conformance suite in a dedicated worker of a browser: in memory, and on the private file system of the origin,
//! through the writes that the npm package gathers. Elsewhere there is nothing to test here.
//!
//! `wasm-pack test --headless --chrome` and `--firefox` run it too; ARCHITECTURE.md says how.

#![cfg(all(target_family = "wasm", target_os = "unknown"))]
#![allow(missing_docs, reason = "a test binary has no readers of its documentation")]

#[macro_use]
#[path = "conformance/cases.rs"]
mod cases;
#[path = "../bindings/src/behind.rs"]
mod behind;
#[path = "conformance/fixture.rs"]
mod fixture;
#[path = "conformance/suite/mod.rs"]
mod suite;
mod support;

use std::io;
use std::sync::Arc;

use behind::{Bytes, Shared};
use magnetar::{JobStore, OpenOptions, RedbStore, Result};
use support::Place;
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};

wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);

#[wasm_bindgen(inline_js = "
    const handles = [];
    export async function create() {
        const root = await navigator.storage.getDirectory();
        const name = `conformance-${crypto.randomUUID()}`;
        const file = await root.getFileHandle(name, { create: true });
        const access = await file.createSyncAccessHandle();
        return handles.push({ access, root, name }) - 1;
    }
    export function remove(handle) {
        const { access, root, name } = handles[handle];
        access.close();
        root.removeEntry(name).catch(() => {});
    }
    export function len(handle) { return handles[handle].access.getSize(); }
    export function read(handle, at, bytes) { return handles[handle].access.read(bytes, { at }); }
    export function write(handle, at, bytes) { return handles[handle].access.write(bytes, { at }); }
    export function set_len(handle, len) { handles[handle].access.truncate(len); }
    export function flush(handle) { handles[handle].access.flush(); }
")]
extern "C" {
    #[wasm_bindgen(catch)]
    async fn create() -> std::result::Result<JsValue, JsValue>;
    fn remove(handle: u32);
    fn len(handle: u32) -> f64;
    fn read(handle: u32, at: f64, bytes: &mut [u8]) -> f64;
    fn write(handle: u32, at: f64, bytes: &[u8]) -> f64;
    #[wasm_bindgen(catch)]
    fn set_len(handle: u32, len: f64) -> std::result::Result<(), JsValue>;
    #[wasm_bindgen(catch)]
    fn flush(handle: u32) -> std::result::Result<(), JsValue>;
}

/// A file of the browser's, which goes with it.
#[derive(Debug)]
struct File(u32);

impl Drop for File {
    fn drop(&mut self) {
        remove(self.0);
    }
}

fn failed(thrown: JsValue) -> io::Error {
    io::Error::other(format!("{thrown:?}"))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of bytes")]
fn count(number: f64) -> usize {
    number as usize
}

#[allow(clippy::cast_precision_loss, reason = "offsets in a small file")]
impl Bytes for Arc<File> {
    fn len(&self) -> io::Result<u64> {
        Ok(count(len(self.0)) as u64)
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        Ok(count(read(self.0, offset as f64, bytes)))
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        Ok(count(write(self.0, offset as f64, bytes)))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        set_len(self.0, len as f64).map_err(failed)
    }

    fn sync(&self) -> io::Result<()> {
        flush(self.0).map_err(failed)
    }

    /// The same handle serves the next opening.
    fn close(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A file of a case's own.
struct Opfs(Arc<File>);

impl Opfs {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "handles are counted from 0")]
    async fn new() -> Self {
        let handle = create().await.expect("the worker of a secure page has private files");
        Opfs(Arc::new(File(handle.as_f64().expect("a number") as u32)))
    }
}

impl Place for Opfs {
    fn open(&self, options: &OpenOptions) -> Result<Arc<dyn JobStore>> {
        let file = Arc::clone(&self.0);
        let make = move || Shared::new(Arc::clone(&file));
        Ok(Arc::new(RedbStore::on_storage(make, options)?))
    }

    fn keeps(&self) -> bool {
        true
    }
}

stamp! { memory (crate::support::places::redb::Memory): always }
stamp! { host (crate::support::places::redb::Host::default()): always kept }
stamp! { opfs { crate::Opfs::new() }: always kept bulky }
