//! SCSI: whatever a device answers. Sense data of any bytes, cut off anywhere, in both formats; INQUIRY and the pages of vital product data; what an
//! answer means, whose code leads back to it, and which never has retries without an end.
#![no_main]

use bulkio::device::scsi::{
    Answer, Cdb, HostStatus, Inquiry, Retries, SamStatus, ScsiStatus, Sense, SenseBytes, serial_of, wwid_of,
};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

/// More tries than any command has.
const TRIES_MAX: u32 = 64;

fuzz_target!(|data: &[u8]| {
    let mut input = Unstructured::new(data);
    // Too few bytes is not a case.
    let _ = match input.int_in_range(0..=1) {
        Ok(0) => answer(&mut input),
        _ => texts(&mut input),
    };
});

fn answer(input: &mut Unstructured<'_>) -> Result<()> {
    let (status, host, driver) =
        (SamStatus(input.arbitrary()?), HostStatus(input.arbitrary()?), input.arbitrary()?);
    let code = [0x70, 0x71, 0x72, 0x73, 0xf0, 0xf1, input.arbitrary()?];
    let mut bytes = vec![*input.choose(&code)?];
    bytes.extend(input.bytes(input.len().min(252))?);
    if let Some(sense) = Sense::parse(&bytes) {
        assert!(!sense.to_string().is_empty());
        let _ = sense.difference();
        let key = sense.key_specific.map(|[first, ..]| first & 0x80 != 0);
        assert!(key != Some(false), "{sense:?}");
    }
    let sense = SenseBytes::new(&bytes);
    assert!(bytes.starts_with(sense.as_bytes()));
    let answer = Answer { status, host, driver, sense, ..Answer::GOOD };
    let Some(fault) = answer.fault() else { return Ok(()) };
    assert_eq!(ScsiStatus::from_code(fault.code()), Some(fault));
    assert!(!fault.to_string().is_empty());
    let mut retries = Retries::default();
    while retries.next(fault).is_some() {
        assert!(retries.count() < TRIES_MAX, "{fault}");
    }
    Ok(())
}

fn texts(input: &mut Unstructured<'_>) -> Result<()> {
    let code: u32 = input.arbitrary()?;
    assert!(ScsiStatus::from_code(code).is_none_or(|status| status.code() == code));
    let bytes = input.bytes(input.len())?;
    if let Ok(cdb) = Cdb::from_bytes(bytes) {
        assert_eq!(cdb.as_bytes(), bytes);
        assert!(!cdb.name().is_empty());
    }
    if let Some(inquiry) = Inquiry::parse(bytes) {
        let names = [inquiry.vendor, inquiry.product, inquiry.revision];
        assert!(names.iter().all(|name| name.is_ascii() && name.trim() == name));
    }
    assert!(serial_of(bytes).is_none_or(|serial| !serial.is_empty()));
    assert!(wwid_of(bytes).is_none_or(|name| name.is_ascii() && name.len() > 3));
    Ok(())
}
