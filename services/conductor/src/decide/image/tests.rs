use super::*;
use crate::testing::{Given, given};
use serde_json::{Value, json};
use strata_events::image::MemberStatus;
use strata_events::{Event, ImageTaskId, Timestamp, UploadId};
use uuid::Uuid;

const OURS: ProjectId = ProjectId(Uuid::from_u128(1));
const THEIRS: ProjectId = ProjectId(Uuid::from_u128(2));
const IMAGE: ImageId = ImageId(Uuid::from_u128(10));
const UPLOAD: UploadId = UploadId(Uuid::from_u128(20));

fn we() -> Asker {
    Asker { project: Some(OURS), admin: false }
}
fn they() -> Asker {
    Asker { project: Some(THEIRS), admin: false }
}
fn admin() -> Asker {
    Asker { project: None, admin: true }
}
fn attributes(visibility: Visibility) -> ImageAttributes {
    ImageAttributes {
        name: Some("cirros".into()),
        visibility,
        protected: false,
        os_hidden: false,
        min_disk: 0,
        min_ram: 0,
        disk_format: Some("qcow2".into()),
        container_format: Some("bare".into()),
        tags: vec![],
        properties: Default::default(),
    }
}
fn image(visibility: Visibility) -> Event {
    ImageEvent::ImageCreated { id: IMAGE, owner: OURS, attributes: attributes(visibility) }.into()
}
fn queued() -> Given {
    given([image(Visibility::Shared)])
}
fn arrived() -> Arrived {
    Arrived { size: 9, virtual_size: Some(90), checksum: "c".into(), sha512: "s".into() }
}
fn start(staging: bool) -> StartUpload {
    StartUpload { id: IMAGE, upload: UPLOAD, deadline: Timestamp(i64::MAX), staging, asker: we() }
}
fn saving() -> Given {
    let started = ImageEvent::ImageUploadStarted { id: IMAGE, upload: UPLOAD, deadline: Timestamp(2_000_000_000_000_000) };
    given([image(Visibility::Shared), started.into()])
}
fn active(visibility: Visibility) -> Given {
    let started = ImageEvent::ImageUploadStarted { id: IMAGE, upload: UPLOAD, deadline: Timestamp(i64::MAX) };
    given([
        image(visibility),
        started.into(),
        ImageEvent::ImageActivated { id: IMAGE, size: 9, virtual_size: None, checksum: "c".into(), sha512: "s".into() }.into(),
    ])
}
fn patch(asker: Asker, op: Op, name: &str, value: Value) -> PatchImage {
    PatchImage { id: IMAGE, changes: vec![Change { op, name: name.into(), value, strict_add: false }], asker }
}

#[test]
fn only_an_admin_makes_an_image_public() {
    let create = |asker| CreateImage { id: IMAGE, owner: OURS, attributes: attributes(Visibility::Public), asker };
    given([]).when(create(we())).refused(Class::Forbidden, "publicize_image");
    given([]).when(create(admin())).accepted();
    queued().when(patch(we(), Op::Replace, "visibility", json!("public"))).refused(Class::Forbidden, "publicize_image");
    queued().when(patch(we(), Op::Replace, "visibility", json!("community"))).accepted();
}

#[test]
fn an_image_is_made_in_one_s_own_project_unless_by_an_admin() {
    let create = |asker| CreateImage { id: IMAGE, owner: OURS, attributes: attributes(Visibility::Private), asker };
    given([]).when(create(they())).refused(Class::Forbidden, "not permitted to create images owned by");
    given([]).when(create(admin())).accepted();
}

#[test]
fn an_id_names_one_image_for_ever() {
    let create = || CreateImage { id: IMAGE, owner: OURS, attributes: attributes(Visibility::Private), asker: we() };
    queued().when(create()).refused(Class::Conflict, "already exists");
    let deleted = ImageEvent::ImageDeleted { id: IMAGE }.into();
    given([image(Visibility::Private), deleted]).when(create()).refused(Class::Conflict, "already exists");
}

#[test]
fn another_project_s_image_is_not_found_and_a_public_one_is_not_theirs_to_change() {
    for visibility in [Visibility::Private, Visibility::Shared] {
        given([image(visibility)]).when(DeleteImage { id: IMAGE, asker: they() }).refused(Class::NotFound, "Failed to find image");
        given([image(visibility)]).when(patch(they(), Op::Add, "a", json!("b"))).refused(Class::NotFound, "No image found");
        given([image(visibility)]).when(StartUpload { asker: they(), ..start(false) }).refused(Class::NotFound, "No image found");
        given([image(visibility)]).when(StartUpload { asker: they(), ..start(true) }).refused(Class::NotFound, "No image found");
    }
    for visibility in [Visibility::Public, Visibility::Community] {
        given([image(visibility)]).when(DeleteImage { id: IMAGE, asker: they() }).refused(Class::Forbidden, "delete_image");
        given([image(visibility)]).when(patch(they(), Op::Add, "a", json!("b"))).refused(Class::Forbidden, "modify_image");
        given([image(visibility)]).when(StartUpload { asker: they(), ..start(false) }).refused(Class::Forbidden, "upload_image");
    }
}

#[test]
fn a_protected_image_stays() {
    let cloud = queued().when(patch(we(), Op::Replace, "protected", json!(true))).accepted();
    let ctx = crate::testing::given([]);
    let context = Context { now: ctx.now, actor: strata_events::Actor::service("t"), request_id: String::new(), caused_by: None };
    let refusal = DeleteImage { id: IMAGE, asker: admin() }.decide(&cloud, &context).unwrap_err();
    assert!(refusal.class == Class::Forbidden && refusal.message.contains("is protected and cannot be deleted"));
}

#[test]
fn what_is_not_there_can_be_neither_replaced_nor_removed_and_what_every_image_has_stays() {
    queued().when(patch(we(), Op::Replace, "os_distro", json!("x"))).refused(Class::Conflict, "Property os_distro does not exist.");
    queued().when(patch(we(), Op::Remove, "os_distro", Value::Null)).refused(Class::Conflict, "does not exist");
    queued().when(patch(we(), Op::Remove, "name", Value::Null)).refused(Class::Forbidden, "may not be removed");
    queued().when(patch(we(), Op::Add, "locations", json!([]))).refused(Class::Forbidden, "locations");
    queued().when(patch(we(), Op::Replace, "owner", json!(THEIRS))).refused(Class::Forbidden, "Owner can't be updated");
    let cloud = queued().when(patch(admin(), Op::Replace, "owner", json!(THEIRS))).accepted();
    assert_eq!(cloud.images.get(&IMAGE).unwrap().owner, THEIRS);
}

#[test]
fn the_format_of_data_that_is_there_does_not_change() {
    active(Visibility::Shared)
        .when(patch(we(), Op::Replace, "disk_format", json!("raw")))
        .refused(Class::Forbidden, "only replaced for a queued");
    saving().when(patch(we(), Op::Replace, "container_format", json!("ova"))).refused(Class::Forbidden, "only replaced for a queued");
    queued().when(patch(we(), Op::Replace, "disk_format", json!("raw"))).accepted();
}

#[test]
fn properties_tags_and_their_size_are_bounded() {
    let add = |i: usize| Change { op: Op::Add, name: format!("p{i}"), value: json!("v"), strict_add: false };
    let many = |n| PatchImage { id: IMAGE, changes: (0..n).map(add).collect(), asker: we() };
    queued().when(many(MAX_PROPERTIES)).accepted();
    queued().when(many(MAX_PROPERTIES + 1)).refused(Class::TooLarge, "allowed image properties");
    let tags: Vec<String> = (0..=MAX_TAGS).map(|i| i.to_string()).collect();
    queued().when(patch(we(), Op::Replace, "tags", json!(tags))).refused(Class::TooLarge, "allowed image tags");
    queued().when(patch(we(), Op::Add, "long", json!("x".repeat(MAX_ATTRIBUTES)))).refused(Class::TooLarge, "more than the");
}

#[test]
fn data_is_uploaded_once_and_active_data_never_changes() {
    saving().when(start(false)).refused(Class::Conflict, "from saving to saving is not allowed");
    active(Visibility::Shared).when(start(false)).refused(Class::Conflict, "from active to saving");
    active(Visibility::Shared).when(start(true)).refused(Class::Conflict, "from active to uploading");
    active(Visibility::Shared).when(ActivateImage { id: IMAGE, upload: UPLOAD, arrived: arrived() }).refused(Class::Conflict, "");
}

#[test]
fn an_upload_that_was_given_up_is_not_heard_any_more() {
    let other = UploadId(Uuid::from_u128(21));
    saving()
        .when(ActivateImage { id: IMAGE, upload: other, arrived: arrived() })
        .refused(Class::Conflict, "could not be found after upload");
    assert_eq!(saving().when(FailUpload { id: IMAGE, upload: other, reason: "late".into() }).outcome, Ok(vec![]));
    let cloud = saving().when(FailUpload { id: IMAGE, upload: UPLOAD, reason: "broke off".into() }).accepted();
    assert_eq!(cloud.images.get(&IMAGE).unwrap().status, ImageStatus::Queued);
}

#[test]
fn an_upload_past_its_deadline_is_failed_by_the_sweep() {
    let cloud = saving().cloud;
    assert_eq!(crate::react::image::sweep(&cloud, Timestamp(1_900_000_000_000_000)).len(), 0);
    assert_eq!(crate::react::image::sweep(&cloud, Timestamp(2_000_000_000_000_001)).len(), 1);
}

#[test]
fn data_needs_a_format_first() {
    let mut bare = attributes(Visibility::Shared);
    bare.disk_format = None;
    let queued = |attributes| given([ImageEvent::ImageCreated { id: IMAGE, owner: OURS, attributes }.into()]);
    queued(bare.clone()).when(start(false)).refused(Class::Invalid, "Property disk_format must be set");
    bare.container_format = None;
    queued(bare).when(start(false)).refused(Class::Invalid, "Properties disk_format, container_format must be set");
}

#[test]
fn staged_data_becomes_the_image_s_only_if_it_will_do() {
    let stage = |refused: Option<&str>| {
        let cloud = queued().when(start(true)).accepted();
        let given = Given { cloud, now: Timestamp(1) };
        let cloud =
            given.when(StageImage { id: IMAGE, upload: UPLOAD, arrived: arrived(), refused: refused.map(str::to_owned) }).accepted();
        assert!(cloud.images.uses_data("s"));
        Given { cloud, now: Timestamp(2) }
    };
    let import = || ImportImage { id: IMAGE, task: ImageTaskId(Uuid::from_u128(30)), asker: we() };
    queued().when(import()).refused(Class::Conflict, "needs to be staged before");
    active(Visibility::Shared).when(import()).refused(Class::Conflict, "status active");
    let good = stage(None).when(import()).accepted();
    let image = good.images.get(&IMAGE).unwrap();
    assert_eq!((image.status, image.imports[0].failure.clone()), (ImageStatus::Active, Some(None)));
    assert!(good.images.uses_data("s"));
    let bad = stage(Some("a backing file")).when(import()).accepted();
    let image = bad.images.get(&IMAGE).unwrap();
    assert_eq!((image.status, image.imports[0].failure.clone()), (ImageStatus::Queued, Some(Some("a backing file".into()))));
    assert!(!bad.images.uses_data("s"));
}

#[test]
fn the_store_may_forget_data_when_the_last_image_with_it_is_gone() {
    let cloud = active(Visibility::Shared).cloud;
    assert!(cloud.images.uses_data("s"));
    let cloud = Given { cloud, now: Timestamp(1) }.when(DeleteImage { id: IMAGE, asker: we() }).accepted();
    assert!(!cloud.images.uses_data("s"));
}

#[test]
fn an_offer_is_made_by_the_owner_and_answered_by_the_other() {
    let add = |asker| AddMember { id: IMAGE, member: THEIRS, asker };
    let answer = |asker| AnswerMember { id: IMAGE, member: THEIRS, status: MemberStatus::Accepted, asker };
    given([image(Visibility::Private)]).when(add(we())).refused(Class::Forbidden, "Not allowed to create members");
    queued().when(add(they())).refused(Class::NotFound, "not found");
    let offered = || Given { cloud: queued().when(add(we())).accepted(), now: Timestamp(1) };
    offered().when(add(we())).refused(Class::Conflict, "is duplicated");
    offered().when(add(they())).refused(Class::Forbidden, "Not allowed to create members");
    offered().when(answer(we())).refused(Class::Forbidden, "Not allowed to update members");
    let third = Asker { project: Some(ProjectId(Uuid::from_u128(3))), admin: false };
    offered().when(answer(third)).refused(Class::NotFound, "not found");
    offered().when(RemoveMember { id: IMAGE, member: THEIRS, asker: they() }).refused(Class::Forbidden, "Not allowed to delete members");
    let cloud = offered().when(answer(they())).accepted();
    assert_eq!(cloud.images.get(&IMAGE).unwrap().members[0].status, MemberStatus::Accepted);
    let cloud = Given { cloud, now: Timestamp(2) }.when(RemoveMember { id: IMAGE, member: THEIRS, asker: we() }).accepted();
    assert!(!they().sees(cloud.images.get(&IMAGE).unwrap()));
}

#[test]
fn deactivating_is_for_active_images_and_does_nothing_twice() {
    let set = |active| SetImageActive { id: IMAGE, active, asker: we() };
    queued().when(set(false)).refused(Class::Forbidden, "Not allowed to deactivate image in status 'queued'");
    assert_eq!(active(Visibility::Shared).when(set(true)).outcome, Ok(vec![]));
    let cloud = active(Visibility::Shared).when(set(false)).accepted();
    assert_eq!(cloud.images.get(&IMAGE).unwrap().status, ImageStatus::Deactivated);
}
