//! `bulkio plan`: what a copy would do, before anything moves.
//!
//! The library plans; `table` is for people, `json` for programs. Contract: a copy that would be refused is planned all the same, as far as that
//! goes; the refusals are part of the plan, and the exit code is that of the refusal.

mod json;
mod table;

use std::io;

use bulkio::copy::plan;

use crate::args::Copy;
use crate::exit::Exit;
use crate::screen::{self, Screen};

pub(crate) fn run(args: &Copy, screen: &Screen) -> Exit {
    if args.destinations().len() > 1 {
        screen.say("bulkio: a plan is of a copy to one destination; plan that to each by itself");
        return Exit::Refused;
    }
    let plan = match plan(args.source(), args.destination(), &args.options()) {
        Ok(plan) => plan,
        Err(error) => {
            screen.say(&format!("bulkio: {error}"));
            return error.class().into();
        }
    };
    let text = if args.json { json::object(&plan) } else { Ok(table::text(&plan)) };
    let printed = text.map_err(io::Error::from).and_then(|text| screen::print(text.trim_end()));
    match printed {
        Ok(()) => {}
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(error) => {
            screen.say(&format!("bulkio: cannot print: {error}"));
            return Exit::Failed;
        }
    }
    for refused in &plan.refusals {
        screen.say(&format!("bulkio: {refused}"));
    }
    if plan.refusals.is_empty() { Exit::Done } else { Exit::Refused }
}
