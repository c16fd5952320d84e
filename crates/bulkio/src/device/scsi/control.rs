//! [`ask`] and [`order`]: the small commands around transfers, with retries for what passes.
//!
//! Their data are short answers in the caller's memory, which the kernel may copy; they are no transfers and count as none.

use std::thread;
use std::time::Duration;

use super::cdb::Cdb;
use super::error::CommandError;
use super::retry::Retries;
use super::transport::{Transport, receive};

/// Sends a command and takes its answer into `bytes`; returns how many bytes of it came.
///
/// # Errors
/// [`CommandError::Refused`], [`CommandError::Failed`]; [`CommandError::Short`] where fewer than `need` bytes came.
pub fn ask(
    transport: &dyn Transport,
    cdb: &Cdb,
    bytes: &mut [u8],
    need: usize,
    timeout: Duration,
) -> Result<usize, CommandError> {
    let command = cdb.name();
    let mut retries = Retries::default();
    loop {
        let answer = receive(transport, cdb, bytes, timeout)
            .map_err(|errno| CommandError::Refused { command, errno })?;
        let Some(status) = answer.fault() else {
            let left = usize::try_from(answer.residual_bytes).unwrap_or(usize::MAX);
            let came = bytes.len().saturating_sub(left);
            if came < need {
                return Err(CommandError::Short { command, bytes: came, need });
            }
            return Ok(came);
        };
        match retries.next(status) {
            Some(pause) if pause.is_zero() => {}
            Some(pause) => thread::sleep(pause),
            None => {
                let (sense, tries) = (answer.sense(), retries.count().saturating_add(1));
                return Err(CommandError::Failed { command, status, sense, tries });
            }
        }
    }
}

/// Sends a command that has no data.
///
/// # Errors
/// As [`ask`].
pub fn order(transport: &dyn Transport, cdb: &Cdb, timeout: Duration) -> Result<(), CommandError> {
    ask(transport, cdb, &mut [], 0, timeout).map(drop)
}
