//! Criterion's view of the pure middle: decoding, folding, deciding. For whoever makes one of them faster or slower.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use strata_events::HostName;

#[path = "../src/world.rs"]
#[allow(dead_code)]
mod world;

fn middle(c: &mut Criterion) {
    let mut world = world::World::default();
    world.ground(100);
    for n in 0..1000 {
        world.server(n, &HostName(format!("host-{}", n % 100)));
    }
    let mut next = world::World { cloud: world.cloud.clone() };
    let log = next.server(5000, &HostName("host-1".into()));
    let rows: Vec<_> = log.iter().map(world::Row::of).collect();
    c.bench_function("decode a server's six events", |b| {
        b.iter(|| rows.iter().enumerate().map(|(i, r)| r.decode(i as u64)).collect::<Vec<_>>());
    });
    c.bench_function("apply a server's six events to a shared Cloud", |b| {
        b.iter_batched(
            || world.cloud.clone(),
            |mut cloud| {
                for recorded in &log {
                    if let Err(e) = cloud.apply(recorded) {
                        panic!("{e}");
                    }
                }
                cloud
            },
            BatchSize::SmallInput,
        );
    });
    c.bench_function("encode a server's six events", |b| b.iter(|| log.iter().map(|r| r.event.encode().len()).sum::<usize>()));
    c.bench_function("digest of a Cloud of 1,000 servers", |b| b.iter(|| world.cloud.digest()));
}

criterion_group!(benches, middle);
criterion_main!(benches);
