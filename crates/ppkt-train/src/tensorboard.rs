//! Scalars for TensorBoard, in its event-file format.
//!
//! A file is a row of records: length (u64), masked CRC-32C of the length, the bytes of one `Event` message, masked
//! CRC-32C of the bytes; all little endian. Of the message only five fields are needed (`tensorflow/core/util/event.proto`):
//! wall time (1, double), step (2, varint), file version (3, string), and summary (5) with values (1) of tag (1) and
//! simple value (2, float). Written here because the crates that do it are stale or bring a protobuf compiler.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Result, TrainError};

/// A growing event file.
#[derive(Debug)]
pub(crate) struct EventLog {
    path: PathBuf,
    file: File,
}

impl EventLog {
    /// Starts a new event file in `folder`. `first_step` goes into its name, so that a resumed run adds a file and
    /// TensorBoard lets its steps replace those of the run that was stopped.
    pub(crate) fn create(folder: &Path, first_step: u64) -> Result<Self> {
        let seconds = wall_time();
        let path = folder.join(format!("events.out.tfevents.{:010}.ppkt.{first_step}", seconds as u64));
        let file = File::create(&path).map_err(|e| TrainError::io("make the event file", &path, e))?;
        let mut log = Self { path, file };
        let mut event = Vec::new();
        double(&mut event, 1, seconds);
        bytes(&mut event, 3, b"brain.Event:2");
        log.record(&event)?;
        Ok(log)
    }

    /// Adds named scalars of one step.
    pub(crate) fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        let mut summary = Vec::new();
        for (tag, value) in values {
            let mut entry = Vec::new();
            bytes(&mut entry, 1, tag.as_bytes());
            entry.push(2 << 3 | 5);
            entry.extend((*value as f32).to_le_bytes());
            bytes(&mut summary, 1, &entry);
        }
        let mut event = Vec::new();
        double(&mut event, 1, wall_time());
        event.push(2 << 3);
        varint(&mut event, step);
        bytes(&mut event, 5, &summary);
        self.record(&event)
    }

    fn record(&mut self, event: &[u8]) -> Result<()> {
        let length = (event.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(event.len() + 16);
        record.extend(length);
        record.extend(masked_crc(&length).to_le_bytes());
        record.extend(event);
        record.extend(masked_crc(event).to_le_bytes());
        self.file.write_all(&record).map_err(|e| TrainError::io("write the event file", &self.path, e))
    }
}

fn wall_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|d| d.as_secs_f64()).unwrap_or_default()
}

fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn double(out: &mut Vec<u8>, field: u8, value: f64) {
    out.push(field << 3 | 1);
    out.extend(value.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    out.push(field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_framed_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = EventLog::create(dir.path(), 0).unwrap();
        log.scalars(300, &[("loss", 1.5)]).unwrap();
        let data = std::fs::read(&log.path).unwrap();
        let mut at = 0;
        let mut events = Vec::new();
        while at < data.len() {
            let length = u64::from_le_bytes(data[at..at + 8].try_into().unwrap()) as usize;
            let body = &data[at + 12..at + 12 + length];
            let crc = u32::from_le_bytes(data[at + 12 + length..at + 16 + length].try_into().unwrap());
            assert_eq!(crc, masked_crc(body));
            events.push(body.to_vec());
            at += 16 + length;
        }
        assert_eq!(events.len(), 2);
        // After the wall time (9 bytes): step 300 as a varint, then the summary with tag and value.
        assert_eq!(events[1][9..12], [0x10, 0xac, 0x02]);
        assert!(events[1].windows(6).any(|w| w == b"\x0a\x04loss"));
        assert!(events[1].ends_with(&1.5f32.to_le_bytes()));
    }

    #[test]
    fn the_checksum_is_castagnolis() {
        // The check value of CRC-32C over "123456789".
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    }
}
