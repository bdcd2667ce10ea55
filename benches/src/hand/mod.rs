//! What a good programmer writes by hand for this one purpose: one index, no feed, no counters, no checksums.
//!
//! An engine commits a list of operations in one transaction. The ways to reach it are the same for every engine:
//! directly, through a writer thread that groups what waits, or in batches from one thread.

pub(crate) mod redb;
pub(crate) mod sqlite;
pub(crate) mod sqlx;

use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};

use tokio::sync::{mpsc as tasks, oneshot};

use crate::Fault;
use crate::cell::{Cell, on_threads};
use crate::clock::{Measured, Slice};

/// As many operations as one group takes at most; Magnetar's own limit.
const GROUP_MAX: usize = 1_024;

/// What a worker wants.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ask {
    Claim,
    Complete(Held),
}

/// A chunk that a worker holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) chunk: u64,
    pub(crate) fence: u64,
}

/// The outcome, once it is committed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    Claimed(Option<Held>),
    /// Whether the fence was still the chunk's.
    Completed(bool),
}

/// A table of chunks with an index of the ready ones.
pub(crate) trait Engine: Send {
    /// Does everything that is asked in one transaction and appends the answers, in order.
    fn commit(&mut self, asks: &[Ask], answers: &mut Vec<Answer>) -> Result<(), Fault>;
}

/// One claim and one completion; `false` where nothing is left to claim.
pub(crate) fn cycle(mut ask: impl FnMut(Ask) -> Result<Answer, Fault>) -> Result<bool, Fault> {
    let Answer::Claimed(held) = ask(Ask::Claim)? else { return Err("a claim was not answered".into()) };
    let Some(held) = held else { return Ok(false) };
    match ask(Ask::Complete(held))? {
        Answer::Completed(true) => Ok(true),
        other => Err(format!("the completion of {held:?} came to {other:?}").into()),
    }
}

/// Each operation a transaction of its own, by whoever asks, one at a time.
pub(crate) fn direct(engine: impl Engine, cell: &Cell) -> Result<Measured, Fault> {
    let engine = Mutex::new((engine, Vec::new()));
    on_threads(cell, |_, slice| {
        let mut cycles = 0;
        while !slice.is_over() {
            let goes_on = cycle(|ask| {
                let mut guard = engine.lock().unwrap_or_else(PoisonError::into_inner);
                let (engine, answers) = &mut *guard;
                answers.clear();
                engine.commit(&[ask], answers)?;
                Ok(answers[0])
            })?;
            if !goes_on {
                break;
            }
            cycles += 1;
        }
        Ok(cycles)
    })
}

/// Claims up to `size` in one transaction and completes them in another: how many.
pub(crate) fn batch(
    engine: &mut impl Engine,
    asks: &mut Vec<Ask>,
    answers: &mut Vec<Answer>,
    size: usize,
) -> Result<u64, Fault> {
    asks.clear();
    asks.resize(size, Ask::Claim);
    answers.clear();
    engine.commit(asks, answers)?;
    asks.clear();
    asks.extend(answers.iter().filter_map(|answer| match answer {
        Answer::Claimed(held) => held.map(Ask::Complete),
        Answer::Completed(_) => None,
    }));
    answers.clear();
    if !asks.is_empty() {
        engine.commit(asks, answers)?;
    }
    if !answers.iter().all(|answer| matches!(answer, Answer::Completed(true))) {
        return Err("a completion was refused".into());
    }
    Ok(asks.len() as u64)
}

/// One thread, `size` operations a transaction: as fast as the engine goes.
pub(crate) fn batched(mut engine: impl Engine, cell: &Cell, size: usize) -> Result<Measured, Fault> {
    let (mut asks, mut answers) = (Vec::new(), Vec::new());
    let (slice, mut cycles) = (Slice::begin(cell.seconds), 0);
    while !slice.is_over() {
        match batch(&mut engine, &mut asks, &mut answers, size)? {
            0 => break,
            more => cycles += more,
        }
    }
    Ok(slice.measured(cycles))
}

/// Takes what waits, commits it as one transaction, answers everybody; until there is nobody left to ask.
fn write<P>(
    engine: &mut impl Engine,
    mut wait: impl FnMut() -> Option<(Ask, P)>,
    mut take: impl FnMut() -> Option<(Ask, P)>,
    mut tell: impl FnMut(P, Answer),
) -> Result<(), Fault> {
    let (mut asks, mut people, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    while let Some((ask, who)) = wait() {
        asks.push(ask);
        people.push(who);
        while asks.len() < GROUP_MAX
            && let Some((ask, who)) = take()
        {
            asks.push(ask);
            people.push(who);
        }
        engine.commit(&asks, &mut answers)?;
        people.drain(..).zip(answers.drain(..)).for_each(|(who, answer)| tell(who, answer));
        asks.clear();
    }
    Ok(())
}

/// Workers are OS threads and share a writer thread.
pub(crate) fn grouped_threads(mut engine: impl Engine, cell: &Cell) -> Result<Measured, Fault> {
    std::thread::scope(|scope| {
        let (ask, asked) = mpsc::channel::<(Ask, usize)>();
        let (tell, told): (Vec<_>, Vec<_>) = (0..cell.workers).map(|_| mpsc::channel()).unzip();
        let told: Vec<_> = told.into_iter().map(Mutex::new).collect();
        let writer = scope.spawn(move || {
            write(
                &mut engine,
                || asked.recv().ok(),
                || asked.try_recv().ok(),
                // A worker that failed has gone, and says so itself.
                |who: usize, answer| {
                    let _ = tell[who].send(answer);
                },
            )
        });
        let measured = on_threads(cell, |at, slice| {
            let told = told[at].lock().unwrap_or_else(PoisonError::into_inner);
            let mut cycles = 0;
            while !slice.is_over() {
                let goes_on = cycle(|what| {
                    ask.send((what, at))?;
                    Ok(told.recv()?)
                })?;
                if !goes_on {
                    break;
                }
                cycles += 1;
            }
            Ok(cycles)
        });
        drop(ask);
        writer.join().expect("the writer does not panic")?;
        measured
    })
}

/// Workers are tasks of a multi-threaded runtime and share a writer thread.
pub(crate) fn grouped_tasks(mut engine: impl Engine + 'static, cell: &Cell) -> Result<Measured, Fault> {
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    let (ask, asked) = tasks::unbounded_channel::<(Ask, oneshot::Sender<Answer>)>();
    let writer = std::thread::spawn(move || {
        let asked = std::cell::RefCell::new(asked);
        write(
            &mut engine,
            || asked.borrow_mut().blocking_recv(),
            || asked.borrow_mut().try_recv().ok(),
            // A worker that failed has gone, and says so itself.
            |who: oneshot::Sender<Answer>, answer| {
                let _ = who.send(answer);
            },
        )
    });
    let slice = Slice::begin(cell.seconds);
    let workers: Vec<_> = (0..cell.workers)
        .map(|_| {
            let ask = ask.clone();
            runtime.spawn(async move {
                let mut cycles = 0;
                while !slice.is_over() {
                    let Answer::Claimed(Some(held)) = one(&ask, Ask::Claim).await? else { break };
                    let Answer::Completed(true) = one(&ask, Ask::Complete(held)).await? else {
                        return Err(Fault::from(format!("the completion of {held:?} was refused")));
                    };
                    cycles += 1;
                }
                Ok(cycles)
            })
        })
        .collect();
    drop(ask);
    let mut cycles = 0;
    for worker in workers {
        cycles += runtime.block_on(worker)??;
    }
    let measured = slice.measured(cycles);
    writer.join().expect("the writer does not panic")?;
    Ok(measured)
}

async fn one(
    ask: &tasks::UnboundedSender<(Ask, oneshot::Sender<Answer>)>,
    what: Ask,
) -> Result<Answer, Fault> {
    let (tell, told) = oneshot::channel();
    ask.send((what, tell)).map_err(|_| "the writer has gone")?;
    Ok(told.await?)
}
