//! Known objects that the report marks on the maps.

use std::path::Path;

use lookback_mesh::Grid;

use crate::formats::fits::Wcs;
use crate::runfile::ReportSection;
use crate::{Error, Result, files};

/// Objects that can be projected onto the map: identifier, column and row.
pub(crate) fn read_groups(
    report: &ReportSection,
    wcs: Option<Wcs>,
    grid: &Grid,
) -> Result<Vec<(String, f64, f64)>> {
    let Some(place) = &report.groups else { return Ok(Vec::new()) };
    let Some(wcs) = wcs else {
        return Err(Error::config("report", "`groups` have positions on the sky, so [sky] needs a `centre`"));
    };
    let text = String::from_utf8_lossy(&files::read(Path::new(place))?).into_owned();
    let mut groups = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |j: usize| words.get(j).and_then(|word| word.parse::<f64>().ok());
        let (Some(ra), Some(dec)) = (number(1), number(2)) else {
            let message =
                format!("line {}: expected an identifier, ra and dec in degrees, found `{line}`", i + 1);
            return Err(Error::file(place, message));
        };
        // Objects on the other side of the sky are not on the map.
        let Ok((x, y)) = wcs.projection.project(ra, dec) else { continue };
        let spacing = grid.spacing();
        let column = (x.to_radians() + 0.5 * grid.lengths()[1]) / spacing[1] - 0.5;
        let row = (y.to_radians() + 0.5 * grid.lengths()[0]) / spacing[0] - 0.5;
        groups.push((words[0].to_string(), column, row));
    }
    Ok(groups)
}
