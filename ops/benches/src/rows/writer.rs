//! The writer against plain SQL.

use crate::report::Report;

pub async fn measure(_report: &mut Report) -> Result<(), String> {
    Ok(())
}
