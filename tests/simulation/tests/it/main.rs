//! Some hundred schedules, the same ones every time. More of them: `ops/test --simulate N`.

use strata_simulation::Simulation;

#[test]
fn every_schedule_converges_and_keeps_the_invariants() {
    for seed in 1..=200 {
        if let Err(why) = Simulation::new(seed).run(400) {
            panic!("seed {seed}: {why}");
        }
    }
}
