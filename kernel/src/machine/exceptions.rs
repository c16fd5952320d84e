//! Exceptions of the CPU: each is a fault of the kernel and ends it with a message.
//!
//! A fault needs no return, so that what it overwrites does not matter: it has no stack of its own, though the precompiled core library
//! uses the red zone. But the double fault has one, since a page fault of a stack that has run out becomes that. Interrupts, which
//! return, have one as well (`interrupts`).
#![expect(unsafe_code, reason = "handlers are addresses of assembly")]

use alloc::boxed::Box;
use core::arch::naked_asm;

use x86_64::VirtAddr;
use x86_64::registers::control::Cr2;
use x86_64::structures::idt::InterruptDescriptorTable;

use super::segments;

/// Makes an entry that calls [`fault`] with the number of the exception and the top of the stack.
macro_rules! entry {
    ($name:ident, $vector:literal) => {
        #[unsafe(naked)]
        extern "C" fn $name() -> ! {
            naked_asm!(
                "mov edi, {vector}",
                "mov rsi, [rsp]",
                "mov rdx, [rsp + 8]",
                "and rsp, -16",
                "call {fault}",
                "ud2",
                vector = const $vector,
                fault = sym fault,
            )
        }
    };
}

entry!(divide_error, 0);
entry!(invalid_opcode, 6);
entry!(double_fault, 8);
entry!(general_protection, 13);
entry!(page_fault, 14);

/// Ends the kernel. What lies on top of the stack is the error code and the place, or the place alone.
extern "C" fn fault(vector: u64, top: u64, next: u64) -> ! {
    let address = Cr2::read_raw();
    panic!("exception {vector} (stack {top:#x}, {next:#x}; address of a page fault {address:#x})");
}

/// Tells the CPU of the handlers. Returns the table, for those of interrupts.
pub(super) fn install() -> &'static mut InterruptDescriptorTable {
    let table = Box::leak(Box::new(InterruptDescriptorTable::new()));
    // SAFETY: the entry takes what the CPU pushes for this exception, and never returns.
    unsafe { table.divide_error.set_handler_addr(at(divide_error)) };
    // SAFETY: as above.
    unsafe { table.invalid_opcode.set_handler_addr(at(invalid_opcode)) };
    // SAFETY: as above.
    unsafe { table.double_fault.set_handler_addr(at(double_fault)) };
    // SAFETY: as above.
    unsafe { table.general_protection_fault.set_handler_addr(at(general_protection)) };
    // SAFETY: as above.
    unsafe { table.page_fault.set_handler_addr(at(page_fault)) };
    // SAFETY: the table is leaked, and its entries are those above.
    unsafe { table.load_unsafe() };
    table
}

/// Gives the double fault its own stack.
///
/// # Safety
/// The CPU has been told of that: [`segments::load`].
pub(super) unsafe fn double_fault_on_own_stack(table: &mut InterruptDescriptorTable) {
    // SAFETY: as in `install`.
    let options = unsafe { table.double_fault.set_handler_addr(at(double_fault)) };
    // SAFETY: the caller's promise; a fault in the handler of this one ends the machine.
    unsafe { options.set_stack_index(segments::FAULT_STACK) };
}

fn at(entry: extern "C" fn() -> !) -> VirtAddr {
    #[expect(clippy::as_conversions, reason = "the address of a function")]
    VirtAddr::from_ptr(entry as *const ())
}
