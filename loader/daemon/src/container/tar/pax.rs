//! Records of a pax header, `LENGTH KEY=VALUE` with a line end each: what they say of the members behind them.

/// What headers before a member say of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Extended {
    pub(super) path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) sparse: bool,
}

impl Extended {
    /// Takes what a header says over what was said before; an empty value takes that back.
    pub(super) fn add(&mut self, mut records: &[u8]) -> Result<(), &'static str> {
        while !records.is_empty() {
            let (key, value, rest) = record(records).ok_or("a record of its pax header is damaged")?;
            match key {
                b"path" => self.path = Some(value.to_vec()).filter(|path| !path.is_empty()),
                b"size" if value.is_empty() => self.size = None,
                b"size" => self.size = Some(decimal(value).ok_or("the size in its pax header is no number")?),
                // GNU's formats 0.0, 0.1 and 1.0, and star's.
                b"SCHILY.realsize" => self.sparse = true,
                _ if key.starts_with(b"GNU.sparse.") => self.sparse = true,
                _ => {}
            }
            records = rest;
        }
        Ok(())
    }
}

/// The first record's key and value, and what is behind it.
fn record(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = records.iter().take(20).position(|&byte| byte == b' ')?;
    let len = usize::try_from(decimal(&records[..space])?).ok()?;
    let (record, rest) = records.split_at_checked(len)?;
    let pair = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = pair.iter().position(|&byte| byte == b'=')?;
    Some((&pair[..equals], &pair[equals + 1..], rest))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    // `parse` would take a sign.
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok().filter(|&number: &u64| i64::try_from(number).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(records: &[u8]) -> Result<Extended, &'static str> {
        let mut read = Extended::default();
        read.add(records).map(|()| read)
    }

    #[test]
    fn records_say_path_and_size_and_what_else_they_say_is_passed_over() {
        let records = b"13 path=a/b\xff\n20 size=12345678901\n23 LIBARCHIVE.x=\n=\n==y\n";
        let expected =
            Extended { path: Some(b"a/b\xff".to_vec()), size: Some(12_345_678_901), sparse: false };
        assert_eq!(read(records), Ok(expected));
        assert_eq!(read(b"9 size=1\n8 size=\n"), Ok(Extended::default()));
        assert!(read(b"22 GNU.sparse.major=1\n").unwrap().sparse);
    }

    #[test]
    fn damaged_records_are_refused() {
        for records in [
            &b"9 size=1"[..],
            b"99 size=1\n",
            b"0 size=1\n",
            b"2 size=1\n",
            b"+9 size=1\n",
            b"9 sizes1\n",
            b"10 size=-1\n",
            b"28 size=99999999999999999999\n",
            b"99999999999999999999999 a=b\n",
            b"x",
        ] {
            assert!(read(records).is_err(), "{:?}", String::from_utf8_lossy(records));
        }
    }
}
