//! Pieces of a file that is made up: it brings what it is told to, when it is told to.

use std::cell::Cell;
use std::task::{Context, Waker};

use tokio::sync::Barrier;

use super::*;
use crate::storage::Account;
use crate::storage::flight::Flight;
use crate::storage::turns::STEP_BYTES;

const DISK: u64 = 7;
const SMALL: Account = Account { session: 1, ..Account::ONLY };
const BULK: Account = Account { session: 2, ..Account::ONLY };

const FILE: [u8; 1003] = {
    let mut bytes = [0; 1003];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = (at % 251) as u8;
        at += 1;
    }
    bytes
};

/// Brings at most 7 bytes a read.
fn sip(part: &mut Part, offset_bytes: u64) -> usize {
    let rest = FILE.get(offset_bytes as usize..).unwrap_or_default();
    let target = part.target();
    let count = rest.len().min(target.len()).min(7);
    target[..count].copy_from_slice(&rest[..count]);
    count
}

fn reading<'a, R>(read_at: R, offset_bytes: u64, at_once: usize) -> Reading<'a, R> {
    let pieces = Pieces { cut: Cut { piece_bytes: 100, at_once }, large: None };
    Reading { read_at, offset_bytes, in_blocks: false, pieces }
}

/// Reads so many bytes into the middle of a buffer: what is said of them, and how they look.
fn fill<R>(reading: &Reading<'_, R>, len_bytes: usize) -> (Result<usize, Errno>, Vec<u8>)
where
    R: AsyncFn(Part, u64) -> (Result<usize, Errno>, Part),
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut bytes = ByteBuf::default();
    bytes.overwrite(len_bytes + 20).unwrap().fill(0xAA);
    let got = runtime.block_on(reading.fill(&mut bytes, 10..10 + len_bytes));
    assert_eq!(bytes.len(), len_bytes + 20, "the buffer is there again");
    assert!(bytes[..10].iter().chain(&bytes[10 + len_bytes..]).all(|byte| *byte == 0xAA));
    (got, bytes[10..][..len_bytes].to_vec())
}

#[test]
fn the_bytes_are_the_same_whatever_the_cut() {
    let read_at = async |mut part: Part, at: u64| {
        tokio::task::yield_now().await;
        (Ok(sip(&mut part, at)), part)
    };
    for at_once in [1, 2, 7, 99] {
        for (offset, len) in
            [(0, 0), (0, 99), (0, 100), (0, 101), (0, 199), (0, 200), (1, 201), (3, 1000), (0, 1003)]
        {
            let (got, bytes) = fill(&reading(read_at, offset, at_once), len);
            assert_eq!(got, Ok(len));
            assert_eq!(bytes, FILE[offset as usize..][..len], "{len} from {offset}, {at_once} at once");
        }
    }
}

#[test]
fn what_is_missing_at_the_end_is_missed_from_its_first_byte_on() {
    let read_at = async |mut part: Part, at: u64| (Ok(sip(&mut part, at)), part);
    for (len, expected) in [(1003, 1003), (1004, 1003), (1100, 1003), (2500, 1003)] {
        assert_eq!(fill(&reading(read_at, 0, 3), len).0, Ok(expected));
    }
    let asked = Cell::new(0);
    let hole = async |mut part: Part, at: u64| {
        asked.set(asked.get().max(at));
        if at < 300 {
            // So the later one of two short pieces is known to be short first.
            tokio::task::yield_now().await;
        }
        if (250..420).contains(&at) { (Ok(0), part) } else { (Ok(sip(&mut part, at)), part) }
    };
    assert_eq!(fill(&reading(hole, 0, 3), 1000).0, Ok(256));
    assert!(asked.get() < 500, "nothing is read behind what is missing: {}", asked.get());
}

#[test]
fn the_first_error_of_a_piece_is_that_of_the_read_and_those_in_flight_are_waited_for() {
    let (begun, ended) = (Cell::new(0), Cell::new(0));
    let fails = async |mut part: Part, at: u64| {
        begun.set(begun.get() + 1);
        tokio::task::yield_now().await;
        ended.set(ended.get() + 1);
        match at {
            300 => (Err(Errno::STALE), part),
            310.. => (Err(Errno::IO), part),
            _ => (Ok(sip(&mut part, at)), part),
        }
    };
    assert_eq!(fill(&reading(fails, 0, 4), 1000).0, Err(Errno::STALE));
    assert_eq!((begun.get(), ended.get()), (3 * 15 + 1, 3 * 15 + 1), "three pieces, and what was refused");
}

#[test]
fn interrupted_reads_go_on() {
    let asked = Cell::new(0);
    let read_at = async |mut part: Part, at: u64| {
        asked.set(asked.get() + 1);
        if asked.get() % 2 == 1 { (Err(Errno::INTR), part) } else { (Ok(sip(&mut part, at)), part) }
    };
    let (got, bytes) = fill(&reading(read_at, 5, 2), 700);
    assert_eq!((got, &bytes[..]), (Ok(700), &FILE[5..705]));
}

#[test]
fn past_the_page_cache_a_piece_that_ends_inside_of_a_block_is_at_the_end_of_the_file() {
    let file_bytes = 3 * BLOCK_BYTES as u64 + 5;
    let asked = Cell::new(0);
    let read_at = async |part: Part, at: u64| {
        asked.set(asked.get() + 1);
        assert!(at.is_multiple_of(BLOCK_BYTES as u64));
        (Ok(file_bytes.saturating_sub(at).min(BLOCK_BYTES as u64) as usize), part)
    };
    let cut = Cut { piece_bytes: 2 * BLOCK_BYTES, at_once: 2 };
    let reading = Reading { read_at, offset_bytes: 0, in_blocks: true, pieces: Pieces { cut, large: None } };
    assert_eq!(fill(&reading, 4 * BLOCK_BYTES).0, Ok(file_bytes as usize));
    assert_eq!(asked.get(), 4);
}

#[test]
fn so_many_pieces_are_in_flight_at_the_same_time_and_no_more() {
    let (all_of_them, count, peak) = (Barrier::new(4), Cell::new(0), Cell::new(0));
    let read_at = async |mut part: Part, at: u64| {
        count.set(count.get() + 1);
        peak.set(peak.get().max(count.get()));
        if at.is_multiple_of(100) {
            // Only three others in three other pieces let this one go on.
            all_of_them.wait().await;
        }
        tokio::task::yield_now().await;
        count.set(count.get() - 1);
        (Ok(sip(&mut part, at)), part)
    };
    let (got, bytes) = fill(&reading(read_at, 0, 4), 800);
    assert_eq!((got, &bytes[..]), (Ok(800), &FILE[..800]));
    assert_eq!(peak.get(), 4);
}

/// The most bytes that a read of 8 MiB in pieces of one has in flight, and the longest of its reads.
fn peak_beside(short_bytes: Option<u64>) -> (u64, usize) {
    let flight = Flight::default();
    let large = flight.large_on(DISK, BULK);
    let _short = short_bytes.and_then(|bytes| flight.short_on(DISK, SMALL, bytes));
    let (in_flight, peak, longest) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let read_at = async |mut part: Part, at: u64| {
        let count = part.target().len();
        in_flight.set(in_flight.get() + count as u64);
        peak.set(peak.get().max(in_flight.get()));
        longest.set(longest.get().max(count));
        tokio::task::yield_now().await;
        part.target().fill((at >> 18) as u8);
        in_flight.set(in_flight.get() - count as u64);
        (Ok(count), part)
    };
    let cut = Cut { piece_bytes: 1 << 20, at_once: 8 };
    let pieces = Pieces { cut, large: Some(&large) };
    let (got, bytes) = fill(&Reading { read_at, offset_bytes: 0, in_blocks: true, pieces }, 8 << 20);
    assert_eq!(got, Ok(8 << 20));
    let in_place =
        |(at, bytes): (usize, &[u8])| bytes.iter().all(|byte| short_bytes.is_none() || *byte as usize == at);
    assert!(bytes.chunks(STEP_BYTES).enumerate().all(in_place));
    (peak.get(), longest.get())
}

#[test]
fn beside_short_reads_of_others_the_pieces_together_have_no_more_in_flight_than_one_read_may() {
    assert_eq!(peak_beside(None), (8 << 20, 1 << 20), "alone");
    assert_eq!(peak_beside(Some(50_000)), (1 << 20, STEP_BYTES));
    assert_eq!(peak_beside(Some(2 << 20)), (2 << 20, STEP_BYTES), "as much as the others");
}

#[test]
fn a_read_that_is_dropped_leaves_its_memory_to_what_is_still_in_flight() {
    let kernel = RefCell::new(Vec::new());
    let read_at = async |part: Part, _: u64| {
        kernel.borrow_mut().push(part);
        future::pending().await
    };
    let (mut bytes, reading) = (ByteBuf::with_capacity(1000), reading(read_at, 0, 3));
    {
        let mut filling = Box::pin(reading.fill(&mut bytes, 0..1000));
        assert!(filling.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    assert_eq!(bytes.capacity(), 0, "nobody else has it");
    let mut parts = kernel.take();
    assert_eq!(parts.len(), 3);
    for part in &mut parts {
        part.target().fill(7);
    }
    let left: Vec<_> = parts.into_iter().map(Part::into_bytes).collect();
    assert!(matches!(&left[..], [None, None, Some(bytes)] if bytes.memory()[..300] == [7; 300]));
}
