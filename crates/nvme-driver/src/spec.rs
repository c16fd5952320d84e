//! Numbers of the specifications: register offsets and fields, opcodes, sizes.
//!
//! "Base" is the NVM Express Base Specification 2.0, "NVM" the NVM Command Set Specification 1.0.

/// Controller capabilities (CAP), Base section 3.1.3.1.
pub(crate) const CAP: u64 = 0x00;
/// Version (VS), Base section 3.1.3.2.
pub(crate) const VS: u64 = 0x08;
/// Interrupt mask set (INTMS), Base section 3.1.3.3.
pub(crate) const INTMS: u64 = 0x0c;
/// Controller configuration (CC), Base section 3.1.3.5.
pub(crate) const CC: u64 = 0x14;
/// Controller status (CSTS), Base section 3.1.3.6.
pub(crate) const CSTS: u64 = 0x1c;
/// Admin queue attributes (AQA), Base section 3.1.3.8.
pub(crate) const AQA: u64 = 0x24;
/// Admin submission queue base (ASQ), Base section 3.1.3.9.
pub(crate) const ASQ: u64 = 0x28;
/// Admin completion queue base (ACQ), Base section 3.1.3.10.
pub(crate) const ACQ: u64 = 0x30;
/// Controller ready timeouts (CRTO), Base section 3.1.3.21.
pub(crate) const CRTO: u64 = 0x68;
/// The first doorbell, NVMe over PCIe Transport Specification 1.0, section 3.1.2.
pub(crate) const DOORBELLS: u64 = 0x1000;

/// CC.EN.
pub(crate) const CC_ENABLE: u32 = 1;
/// CC.MPS starts at this bit.
pub(crate) const CC_PAGE_SHIFT: u32 = 7;
/// CC.SHN: the field, and the value of a normal shutdown.
pub(crate) const CC_SHUTDOWN_MASK: u32 = 0b11 << 14;
pub(crate) const CC_SHUTDOWN_NORMAL: u32 = 0b01 << 14;
/// CC.IOSQES and CC.IOCQES: entries of 2^6 and 2^4 bytes.
pub(crate) const CC_ENTRY_SIZES: u32 = 6 << 16 | 4 << 20;

/// CSTS.RDY.
pub(crate) const CSTS_READY: u32 = 1;
/// CSTS.CFS.
pub(crate) const CSTS_FATAL: u32 = 1 << 1;
/// CSTS.SHST: the field, and the value of a shutdown that is complete.
pub(crate) const CSTS_SHUTDOWN_MASK: u32 = 0b11 << 2;
pub(crate) const CSTS_SHUTDOWN_DONE: u32 = 0b10 << 2;

/// Bytes of a submission queue entry, Base section 3.3.3.1.
pub(crate) const SUBMISSION_LEN: u64 = 64;
/// Bytes of a completion queue entry, Base section 3.3.3.2.
pub(crate) const COMPLETION_LEN: u64 = 16;
/// The SQES field of the identify data must name 2^6 bytes as required, CQES 2^4: Base section 5.17.2.1.
pub(crate) const SUBMISSION_LEN_LOG2: u8 = 6;
pub(crate) const COMPLETION_LEN_LOG2: u8 = 4;
/// Bytes of every identify data structure, Base section 5.17.
pub(crate) const IDENTIFY_LEN: u64 = 4096;

/// Admin opcodes, Base section 5.
pub(crate) mod admin {
    pub(crate) const CREATE_SUBMISSION_QUEUE: u8 = 0x01;
    pub(crate) const CREATE_COMPLETION_QUEUE: u8 = 0x05;
    pub(crate) const IDENTIFY: u8 = 0x06;
    pub(crate) const ABORT: u8 = 0x08;
    pub(crate) const SET_FEATURES: u8 = 0x09;
    /// Feature identifier: number of queues, Base section 5.27.1.5.
    pub(crate) const NUMBER_OF_QUEUES: u32 = 0x07;
}

/// CNS values of Identify, Base section 5.17.1.
pub(crate) mod cns {
    pub(crate) const NAMESPACE: u32 = 0x00;
    pub(crate) const CONTROLLER: u32 = 0x01;
    pub(crate) const ACTIVE_NAMESPACES: u32 = 0x02;
}

/// I/O opcodes, NVM section 3, and flush, Base section 7.
pub(crate) mod io {
    pub(crate) const FLUSH: u8 = 0x00;
    pub(crate) const WRITE: u8 = 0x01;
    pub(crate) const READ: u8 = 0x02;
    pub(crate) const WRITE_ZEROES: u8 = 0x08;
    pub(crate) const DATASET_MANAGEMENT: u8 = 0x09;
    /// Attribute of dataset management: deallocate (CDW11 bit 2), NVM section 3.2.3.
    pub(crate) const DEALLOCATE: u32 = 1 << 2;
}

/// The most blocks of a command: NLB has 16 bits and counts from 0, NVM section 3.2.4.
pub(crate) const BLOCKS_MAX: u64 = 1 << 16;
/// The most ranges of a dataset management command, NVM section 3.2.3.
pub(crate) const RANGES_MAX: usize = 256;
/// Words of a range, same section.
pub(crate) const RANGE_WORDS: usize = 2;
/// The last identifier of an active namespace, Base section 3.2.1.2: those above have other meanings.
pub(crate) const NAMESPACE_ID_MAX: u32 = 0xffff_fffd;
