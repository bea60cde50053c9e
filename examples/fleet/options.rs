//! What the command line asks for.

pub(crate) const HELP: &str = "\
fleet [OPTIONS]
  --third N        run each third cell only, from the Nth on: 1 to 3
  --only TEXT      run the cells whose name contains this
  --threads N      on so many threads; default: one for each processor
  --list           print the names of the cells
  --page           run the cells of doc/running.md, and put their figures there
  --draw           run what doc/fleet.svg shows, and draw it
  --figure         compare with a plain loop and with the design that this library replaces";

pub(crate) enum Wanted {
    Cells,
    List,
    Page,
    Draw,
    Figure,
}

pub(crate) struct Options {
    pub(crate) wanted: Wanted,
    pub(crate) third: Option<usize>,
    pub(crate) only: Option<String>,
    pub(crate) threads: usize,
}

/// What is asked for; none if it was only for help.
pub(crate) fn read(mut args: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut options = Options { wanted: Wanted::Cells, third: None, only: None, threads };
    while let Some(name) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{name} needs a value"));
        match name.as_str() {
            "--third" => options.third = Some(number(&name, &value()?, 3)?),
            "--threads" => options.threads = number(&name, &value()?, 1024)?,
            "--only" => options.only = Some(value()?),
            "--list" => options.wanted = Wanted::List,
            "--page" => options.wanted = Wanted::Page,
            "--draw" => options.wanted = Wanted::Draw,
            "--figure" => options.wanted = Wanted::Figure,
            "--help" | "-h" => {
                println!("{HELP}");
                return Ok(None);
            }
            _ => return Err(format!("unknown option {name}")),
        }
    }
    Ok(Some(options))
}

fn number(name: &str, text: &str, most: usize) -> Result<usize, String> {
    let number = text.parse().ok().filter(|n| (1..=most).contains(n));
    number.ok_or_else(|| format!("{name} {text}: must be a number from 1 to {most}"))
}
