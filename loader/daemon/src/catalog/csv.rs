//! Rows of a CSV file whose first line names the columns.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ::csv::{ByteRecord, Reader, ReaderBuilder};

use super::cell::Cell;
use super::error::CatalogError;
use super::limits::CatalogLimits;
use super::list::{Naming, Rows, Visit, Wanted, check_present};

const BUFFER_BYTES: usize = 64 << 10;

pub(super) struct CsvRows {
    file: PathBuf,
    delimiter: u8,
    naming: Naming,
    line_bytes_max: u64,
}

impl CsvRows {
    pub(super) fn new(file: &Path, delimiter: u8, naming: Naming, limits: &CatalogLimits) -> Self {
        Self { file: file.to_owned(), delimiter, naming, line_bytes_max: limits.line_bytes_max }
    }

    fn reader(&self) -> Result<Reader<Allowance>, CatalogError> {
        let source = File::open(&self.file).map_err(|source| self.io("open", source))?;
        let input = Allowance { source, left_bytes: 0 };
        let mut builder = ReaderBuilder::new();
        builder.has_headers(false).delimiter(self.delimiter).buffer_capacity(BUFFER_BYTES);
        Ok(builder.from_reader(input))
    }

    /// Reads the next record; `false` at the end. An open quote can't swallow more than a line's worth of memory.
    fn next(&self, reader: &mut Reader<Allowance>, record: &mut ByteRecord) -> Result<bool, CatalogError> {
        let line = reader.position().line();
        reader.get_mut().left_bytes = self.line_bytes_max.saturating_add(BUFFER_BYTES as u64);
        let more = reader.read_byte_record(record).map_err(|error| self.failed(line, error))?;
        if record.as_slice().len() as u64 > self.line_bytes_max {
            return Err(self.too_long(line));
        }
        Ok(more)
    }

    fn failed(&self, line: u64, error: ::csv::Error) -> CatalogError {
        match error.kind() {
            ::csv::ErrorKind::Io(source) if source.kind() == io::ErrorKind::FileTooLarge => {
                self.too_long(line)
            }
            ::csv::ErrorKind::Io(_) => {
                let ::csv::ErrorKind::Io(source) = error.into_kind() else { unreachable!("matched above") };
                self.io("read", source)
            }
            _ => CatalogError::Csv { place: self.naming.row(line), source: error },
        }
    }

    fn too_long(&self, line: u64) -> CatalogError {
        CatalogError::LineTooLong { place: self.naming.row(line), line_bytes_max: self.line_bytes_max }
    }

    fn io(&self, action: &'static str, source: io::Error) -> CatalogError {
        CatalogError::Io { action, path: self.file.display().to_string(), source }
    }

    fn names(&self, reader: &mut Reader<Allowance>) -> Result<Vec<String>, CatalogError> {
        let mut record = ByteRecord::new();
        if !self.next(reader, &mut record)? {
            return Err(CatalogError::Empty { file: self.naming.source.clone() });
        }
        Ok(record.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect())
    }
}

impl Rows for CsvRows {
    fn naming(&self) -> &Naming {
        &self.naming
    }

    fn header(&self) -> Result<Vec<String>, CatalogError> {
        self.names(&mut self.reader()?)
    }

    fn for_each(&self, wanted: &Wanted<'_>, visit: Visit<'_>) -> Result<(), CatalogError> {
        let mut reader = self.reader()?;
        let header = self.names(&mut reader)?;
        let mut at = Vec::with_capacity(wanted.names.len());
        for name in wanted.names {
            check_present(&self.naming.source, name, &header)?;
            at.extend(header.iter().position(|present| present == name));
        }
        let mut record = ByteRecord::new();
        while self.next(&mut reader, &mut record)? {
            let line = record.position().map_or(0, ::csv::Position::line);
            let cells: Vec<_> = at.iter().map(|&at| Cell::Raw(&record[at])).collect();
            visit(line, &cells)?;
        }
        Ok(())
    }
}

/// A file that may be read only so far before someone asks for the next record.
struct Allowance {
    source: File,
    left_bytes: u64,
}

impl Read for Allowance {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        if self.left_bytes == 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let count = self.source.read(target)?;
        self.left_bytes = self.left_bytes.saturating_sub(count as u64);
        Ok(count)
    }
}
