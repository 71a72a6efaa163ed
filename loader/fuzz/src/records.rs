//! The fixed binary records of a session's socket.

use forebay::delivery::local::record::{
    ClientRecord, Header, Ready, read_arena, read_attach, write_arena, write_attach,
};

/// A record as any kind: what is read says the same when it is written and read again.
pub fn record(input: &[u8]) -> bool {
    let _ = Header::read(input);
    let mut out = Vec::new();
    let mut accepted = false;
    if let Ok(record) = ClientRecord::read(input) {
        record.write(&mut out);
        assert_eq!(ClientRecord::read(&out), Ok(record));
        accepted = true;
    }
    if let Ok(ready) = Ready::read(input) {
        ready.write(&mut out);
        assert_eq!(Ready::read(&out), Ok(ready));
        accepted = true;
    }
    if let Ok((arena, slot_bytes, slots)) = read_arena(input) {
        write_arena(&mut out, arena, slot_bytes, slots);
        assert_eq!(read_arena(&out), Ok((arena, slot_bytes, slots)));
        accepted = true;
    }
    if let Ok(session) = read_attach(input) {
        write_attach(&mut out, session);
        assert_eq!(read_attach(&out), Ok(session));
        accepted = true;
    }
    accepted
}
