//! The gathered writes against plain memory: what is read, what reaches the host and in which order.

use std::cell::RefCell;

use super::*;

/// Memory that keeps a log, gives and takes a few bytes at a time, and can be made to fail.
#[derive(Debug, Default)]
struct Fake {
    content: RefCell<Vec<u8>>,
    log: RefCell<Vec<String>>,
    /// At most so many bytes at once; 0 is any number.
    at_once: usize,
    reads: RefCell<usize>,
    /// Writes that still succeed.
    writes_left: RefCell<Option<usize>>,
}

impl Fake {
    fn portion(&self, wanted: usize) -> usize {
        if self.at_once == 0 { wanted } else { wanted.min(self.at_once) }
    }
}

impl Bytes for Fake {
    fn len(&self) -> io::Result<u64> {
        Ok(self.content.borrow().len() as u64)
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        *self.reads.borrow_mut() += 1;
        let content = self.content.borrow();
        let from = usize::try_from(offset).unwrap().min(content.len());
        let count = self.portion(bytes.len()).min(content.len() - from);
        bytes[..count].copy_from_slice(&content[from..from + count]);
        Ok(count)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        if let Some(left) = &mut *self.writes_left.borrow_mut() {
            *left = left.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
        }
        self.log.borrow_mut().push(format!("write {offset} +{}", bytes.len()));
        let count = self.portion(bytes.len());
        let from = usize::try_from(offset).unwrap();
        self.content.borrow_mut()[from..from + count].copy_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.log.borrow_mut().push(format!("len {len}"));
        self.content.borrow_mut().resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.log.borrow_mut().push("sync".into());
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.log.borrow_mut().push("close".into());
        Ok(())
    }
}

fn log(behind: &Behind<Fake>) -> Vec<String> {
    behind.bytes.log.take()
}

#[test]
fn a_random_walk_reads_as_plain_memory_does_and_leaves_the_host_the_same() {
    let seed = std::env::var("MAGNETAR_SEED").map_or(11, |text| text.parse().expect("a number"));
    println!("behind: MAGNETAR_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    for round in 0..300 {
        let fake = Fake { at_once: [0, 7][round % 2], ..Fake::default() };
        let (mut behind, mut plain) = (Behind::new(fake).unwrap(), Vec::<u8>::new());
        for _ in 0..60 {
            match rng.u8(..10) {
                0 => {
                    let len = rng.usize(..600);
                    behind.set_len(len as u64).unwrap();
                    plain.resize(len, 0);
                }
                1 => behind.sync().unwrap(),
                2..6 => {
                    let (at, bytes) = (rng.usize(..500), vec![rng.u8(1..); rng.usize(1..90)]);
                    behind.write(at as u64, &bytes).unwrap();
                    plain.resize(plain.len().max(at + bytes.len()), 0);
                    plain[at..at + bytes.len()].copy_from_slice(&bytes);
                }
                _ if plain.is_empty() => {}
                _ => {
                    let from = rng.usize(..plain.len());
                    let to = rng.usize(from..=plain.len());
                    let mut out = vec![99; to - from];
                    behind.read(from as u64, &mut out).unwrap();
                    assert_eq!(out, plain[from..to]);
                }
            }
            assert_eq!(behind.len(), plain.len() as u64);
            assert_eq!(behind.held_bytes, behind.runs.values().map(Vec::len).sum::<usize>());
        }
        behind.sync().unwrap();
        assert_eq!(*behind.bytes.content.borrow(), plain);
    }
}

#[test]
fn whoever_walks_a_file_before_writing_reads_it_in_large_pieces() {
    let content: Vec<u8> = (0..20_000_000_u32).map(|at| (at / 1_000).to_le_bytes()[0]).collect();
    let mut behind = Behind::new(Fake { content: content.clone().into(), ..Fake::default() }).unwrap();
    let mut page = [0; 4096];
    // In the order of the file, with an early page between any two, as of a tree.
    for at in (0..content.len() - 4096).step_by(4096) {
        for at in [at, at / 1_000_000] {
            behind.read(at as u64, &mut page).unwrap();
            assert_eq!(page, content[at..at + 4096]);
        }
    }
    assert!(*behind.bytes.reads.borrow() < 200, "{} reads", behind.bytes.reads.borrow());
    // What spans pieces, and the end.
    let mut large = vec![0; 1 << 20];
    for at in [7, 131_071, content.len() - large.len()] {
        behind.read(at as u64, &mut large).unwrap();
        assert_eq!(large, content[at..at + large.len()]);
    }
    // From the first write on each page is read by itself, and what was read before is not believed.
    behind.write(4096, &[255; 10]).unwrap();
    behind.bytes.content.borrow_mut()[0] = 9;
    *behind.bytes.reads.borrow_mut() = 0;
    behind.read(0, &mut page).unwrap();
    assert_eq!((page[0], *behind.bytes.reads.borrow()), (9, 1));
}

#[test]
fn nothing_reaches_the_host_before_a_sync_and_then_in_merged_runs_with_the_header_last() {
    let mut behind = Behind::new(Fake::default()).unwrap();
    behind.set_len(40_960).unwrap();
    for page in [5, 3, 4, 8] {
        behind.write(page * 4096, &[1; 4096]).unwrap();
    }
    behind.write(0, &[2; 320]).unwrap();
    assert_eq!(log(&behind), ["len 40960"]);
    behind.sync().unwrap();
    assert_eq!(log(&behind), ["write 12288 +12288", "write 32768 +4096", "write 0 +320", "sync"]);
    behind.sync().unwrap();
    assert_eq!(log(&behind), ["sync"]);
}

#[test]
fn a_page_written_twice_is_written_once_as_it_was_last() {
    let mut behind = Behind::new(Fake::default()).unwrap();
    behind.write(4096, &[1; 4096]).unwrap();
    behind.write(4096, &[2; 4096]).unwrap();
    behind.sync().unwrap();
    assert_eq!(log(&behind), ["len 8192", "write 4096 +4096", "sync"]);
    assert_eq!(behind.bytes.content.borrow()[4096..], [2; 4096]);
}

#[test]
fn too_much_to_hold_back_is_written_early() {
    let mut behind = Behind::new(Fake::default()).unwrap();
    let page = vec![7; 1 << 20];
    for at in 0..9 {
        behind.write(4096 + (at << 20), &page).unwrap();
    }
    assert!(behind.runs.is_empty());
    assert!(!log(&behind).contains(&"sync".to_owned()));
}

#[test]
fn closing_writes_and_syncs_what_is_left_before_the_handle_goes() {
    let mut behind = Behind::new(Fake::default()).unwrap();
    behind.write(0, &[1; 10]).unwrap();
    behind.close().unwrap();
    assert_eq!(log(&behind), ["len 10", "write 0 +10", "sync", "close"]);
}

#[test]
fn an_error_of_the_host_is_told_and_the_handle_still_closes() {
    let mut behind = Behind::new(Fake::default()).unwrap();
    behind.write(0, &[1; 10]).unwrap();
    *behind.bytes.writes_left.borrow_mut() = Some(0);
    assert_eq!(behind.sync().unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(behind.close().unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(log(&behind).last().unwrap(), "close");
}

#[test]
fn reading_past_the_end_or_what_somebody_cut_off_is_an_error() {
    let mut behind = Behind::new(Fake::default()).unwrap();
    behind.set_len(10).unwrap();
    assert_eq!(behind.read(5, &mut [0; 6]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    behind.bytes.content.borrow_mut().truncate(4);
    assert_eq!(behind.read(2, &mut [0; 4]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}
