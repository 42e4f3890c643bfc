//! `strata-simulation [RUNS] [FIRST_SEED]`: runs so many schedules and prints the seed of the first that fails.

use strata_simulation::Simulation;

fn main() {
    let mut args = std::env::args().skip(1).map(|a| a.parse::<u64>());
    let (Some(Ok(runs)), first) = (args.next().or(Some(Ok(100))), args.next()) else {
        eprintln!("usage: strata-simulation [RUNS] [FIRST_SEED]");
        std::process::exit(2);
    };
    let first = first.and_then(Result::ok).unwrap_or(1);
    for seed in first..first + runs {
        let mut simulation = Simulation::new(seed);
        let outcome = simulation.run(400);
        if std::env::var_os("STRATA_SIMULATION_LOG").is_some() {
            for r in simulation.log() {
                println!("{} {} {} {}", r.position, r.event.stream(), r.event.type_name(), r.event.encode());
            }
        }
        if let Err(why) = outcome {
            eprintln!("seed {seed}: {why}");
            std::process::exit(1);
        }
        if seed % 100 == 0 {
            eprintln!("{} schedules passed", seed + 1 - first);
        }
    }
    println!("{runs} passed, 0 failed");
}
