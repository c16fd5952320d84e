//! The segments that long mode still wants, and the two stacks that they name: one for interrupts, one for the double fault.
//!
//! The CPU finds these stacks by way of TR, the descriptor table and the task state segment (Intel SDM, volume 3, sections
//! 7.14.5 "Interrupt Stack Table" and 8.7 "Task Management in 64-bit Mode"). This is global because the registers of the CPU are.
#![expect(unsafe_code, reason = "loads segment registers")]

use alloc::boxed::Box;
use core::cell::UnsafeCell;

use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, DS, ES, SS, Segment as _};
use x86_64::instructions::tables::load_tss;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable};
use x86_64::structures::tss::TaskStateSegment;

/// The number of the stack for interrupts in the table, from 0.
pub(super) const INTERRUPT_STACK: u16 = 0;

/// The number of the stack for the double fault, which comes where the kernel's own stack has run out.
pub(super) const FAULT_STACK: u16 = 1;

/// Bytes of that: for the message of the fault.
const FAULT_STACK_LEN: usize = 16 << 10;

/// Its memory.
///
/// # Invariants
/// 1. A value is leaked before the CPU learns of it, and is the CPU's from then on.
#[repr(C, align(16))]
struct FaultStack(UnsafeCell<[u8; FAULT_STACK_LEN]>);

/// Tells the CPU of the stack for interrupts, whose first byte past its end is at `top`, and of one for the double fault.
///
/// # Safety
/// The stack is for this alone, and stays.
pub(super) unsafe fn load(top: VirtAddr) {
    let fault = Box::into_raw(Box::new(FaultStack(UnsafeCell::new([0; FAULT_STACK_LEN]))));
    let mut task = TaskStateSegment::new();
    let none = VirtAddr::zero();
    // By number: INTERRUPT_STACK, FAULT_STACK.
    task.interrupt_stack_table =
        [top, VirtAddr::from_ptr(fault.wrapping_add(1)), none, none, none, none, none];
    let task: &'static TaskStateSegment = Box::leak(Box::new(task));
    let table = Box::leak(Box::new(GlobalDescriptorTable::new()));
    // The same selectors as in the table of the entry.
    let (code, data) =
        (table.append(Descriptor::kernel_code_segment()), table.append(Descriptor::kernel_data_segment()));
    let task = table.append(Descriptor::tss_segment(task));
    table.load();
    // SAFETY: a segment of 64-bit code of the table that was loaded just now.
    unsafe { CS::set_reg(code) };
    // SAFETY: a segment of data of that table.
    unsafe { SS::set_reg(data) };
    // SAFETY: as above.
    unsafe { DS::set_reg(data) };
    // SAFETY: as above.
    unsafe { ES::set_reg(data) };
    // SAFETY: the task state segment of that table, which is whole and stays.
    unsafe { load_tss(task) };
}
