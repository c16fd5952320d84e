//! The flags of memory between both ends: `--buffer` and its marks.

use bulkio::copy::Buffering;
use clap::Args;

use crate::size;

/// All of them.
#[derive(Args, Debug)]
#[command(next_help_heading = "Buffer")]
pub(super) struct BufferFlags {
    /// Memory between SRC and DST, where these are fast by turns; a tape has --tape-buffer, a grabber --stream-buffer
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    buffer: Option<u64>,
    /// How full the buffer is, in percent, when DST begins to be written, and goes on after a pause
    #[arg(long, value_name = "PERCENT", requires = "buffer", default_value_t = 0)]
    buffer_start: u8,
    /// How full it is when writing pauses
    #[arg(long, value_name = "PERCENT", requires = "buffer_start", default_value_t = 0)]
    buffer_pause: u8,
}

impl BufferFlags {
    pub(super) fn options(&self) -> Option<Buffering> {
        let len = self.buffer?;
        Some(Buffering { len, start_percent: self.buffer_start, pause_percent: self.buffer_pause })
    }
}
