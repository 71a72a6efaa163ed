//! A real second process at the other end of an arena: what it may try, and that the daemon's side outlives it.
//!
//! The client is this test binary again, in the role that [`ROLE`] names, with the memfd as its standard input. It
//! writes through the descriptor; those are the same pages as a mapping's.
#![cfg(not(loom))]

use std::{
    env,
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt,
    },
    process::{Child, Command, Stdio},
};

use forebay_arena::{Arena, ArenaError, FillState, Geometry, Part};
use rustix::{
    fs::{FallocateFlags, SealFlags, fallocate, fcntl_add_seals, fstat, ftruncate},
    io::{Errno, pwrite},
    process::{Resource, Rlimit, setrlimit},
};

const ROLE: &str = "FOREBAY_ARENA_TEST_ROLE";
const SLOT_BYTES: u64 = 1 << 16;
const SAMPLES: u32 = 16;
/// What a scribbling client writes.
const RUBBISH: u8 = 0xA5;
const SAMPLE: Part = Part { offset_bytes: 0, stride_bytes: SLOT_BYTES / SAMPLES as u64 };

fn arena(slots: u32) -> Arena {
    Arena::create(1, Geometry { slot_bytes: SLOT_BYTES, slots }).unwrap()
}

/// Starts the client with the arena's memfd.
fn client(role: &str, arena: &Arena) -> Child {
    let fd = arena.fd().try_clone_to_owned().unwrap();
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "as_the_client", "--ignored", "--nocapture"])
        .env(ROLE, role)
        .stdin(Stdio::from(fd))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs the client to its end; its assertions are this test's.
fn run_client(role: &str, arena: &Arena) {
    let done = client(role, arena).wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success() && said.contains("1 passed"), "{role}: {said}");
}

/// Fills one slot with `value` as a decode thread would, leases it, and returns it as the client would.
fn deliver(arena: &Arena, value: u8) -> u32 {
    let (filling, samples) = arena.try_take().unwrap().split(SAMPLES, &[SAMPLE]).unwrap();
    for mut sample in samples {
        sample.part_mut(0).fill(value);
        sample.commit();
    }
    assert_eq!(filling.state(), FillState::Complete);
    let lease = filling.seal().unwrap().lease();
    arena.release(lease.index(), lease.generation()).unwrap();
    lease.index()
}

/// What is in a slot now, as the client's mapping shows it.
fn slot_bytes(arena: &Arena, slot: u32) -> Vec<u8> {
    let mut bytes = vec![0; SLOT_BYTES as usize];
    let file = File::from(arena.fd().try_clone_to_owned().unwrap());
    file.read_exact_at(&mut bytes, u64::from(slot) * SLOT_BYTES).unwrap();
    bytes
}

#[test]
fn a_client_cannot_change_the_size_of_an_arena() {
    let arena = arena(2);
    run_client("resize", &arena);
    let slot = deliver(&arena, 7);
    assert_eq!(slot_bytes(&arena, slot), vec![7; SLOT_BYTES as usize]);
}

#[test]
fn a_client_cannot_seal_an_arena() {
    let arena = arena(1);
    run_client("seal", &arena);
    deliver(&arena, 7);
}

#[test]
fn a_client_that_punches_holes_leaves_a_mapping_that_can_be_written() {
    let arena = arena(2);
    arena.prefault().unwrap();
    let slot = deliver(&arena, 7);
    run_client("punch", &arena);
    assert_eq!(slot_bytes(&arena, slot), vec![0; SLOT_BYTES as usize], "the client harmed its own data");
    let slot = deliver(&arena, 8);
    assert_eq!(slot_bytes(&arena, slot), vec![8; SLOT_BYTES as usize]);
}

#[test]
fn a_client_that_scribbles_and_is_killed_harms_only_its_own_data() {
    let (scribbled, neighbour) = (arena(4), arena(1));
    let kept = deliver(&neighbour, 3);
    let mut child = client("scribble", &scribbled);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("scribbling")));
    let mut harmed = 0;
    while harmed < 20 {
        assert_eq!(child.try_wait().unwrap(), None, "the client writes until it is killed");
        let slot = deliver(&scribbled, 1);
        harmed += u32::from(slot_bytes(&scribbled, slot).contains(&RUBBISH));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!((scribbled.free_slots(), scribbled.leased()), (4, 0));
    let slot = deliver(&scribbled, 9);
    assert_eq!(slot_bytes(&scribbled, slot), vec![9; SLOT_BYTES as usize]);
    assert_eq!(slot_bytes(&neighbour, kept), vec![3; SLOT_BYTES as usize]);
}

#[test]
fn a_process_without_descriptors_is_told_which_call_was_refused() {
    run_client("no_descriptors", &arena(1));
}

#[test]
#[ignore = "the client's side of the tests above; it runs only as their child"]
fn as_the_client() {
    let Ok(role) = env::var(ROLE) else { return eprintln!("skipped: {ROLE} names no role") };
    let stdin = io::stdin();
    let fd = stdin.as_fd();
    let size = fstat(fd).unwrap().st_size as u64;
    match role.as_str() {
        "resize" => resize(fd, size),
        "seal" => {
            for seal in [SealFlags::WRITE, SealFlags::FUTURE_WRITE, SealFlags::SEAL] {
                assert_eq!(fcntl_add_seals(fd, seal), Err(Errno::PERM));
            }
        }
        "punch" => {
            fallocate(fd, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, size).unwrap();
        }
        "scribble" => scribble(fd, size),
        "no_descriptors" => no_descriptors(),
        role => panic!("{ROLE} names no role: {role}"),
    }
}

fn resize(fd: BorrowedFd<'_>, size: u64) {
    for other in [0, 1, size - 1, size + 1, 2 * size] {
        assert_eq!(ftruncate(fd, other), Err(Errno::PERM), "to {other} bytes");
    }
    assert_eq!(fallocate(fd, FallocateFlags::empty(), size, 1), Err(Errno::PERM));
    let reopened = OpenOptions::new().write(true).truncate(true).open("/proc/self/fd/0");
    assert_eq!(reopened.unwrap_err().raw_os_error(), Some(Errno::PERM.raw_os_error()));
    let past_the_end = pwrite(fd, b"x", size);
    assert!(past_the_end.is_err(), "a write past the end would grow it");
    assert_eq!(fstat(fd).unwrap().st_size as u64, size);
}

/// Writes until it is killed.
fn scribble(fd: BorrowedFd<'_>, size: u64) {
    let file = File::from(fd.as_fd().try_clone_to_owned().unwrap());
    let rubbish = vec![RUBBISH; size as usize];
    println!("scribbling");
    loop {
        file.write_all_at(&rubbish, 0).unwrap();
    }
}

fn no_descriptors() {
    setrlimit(Resource::Nofile, Rlimit { current: Some(0), maximum: Some(0) }).unwrap();
    let refused = Arena::create(2, Geometry { slot_bytes: 1, slots: 1 }).unwrap_err();
    assert!(matches!(refused, ArenaError::System { call: "memfd_create", .. }), "{refused}");
}
