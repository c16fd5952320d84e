//! Pages to read: documentation whose examples are tests. There is no code here.

pub mod from_pread;
pub mod limitations;
