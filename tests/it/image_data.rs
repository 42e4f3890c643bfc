//! Images over plain HTTP: what may go in, what comes out, and that nothing is left of what was refused.

use crate::cloud::{Cloud, shared};
use crate::http::{Answer, Api, raw};
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};
use strata_image_format::corpus;

const STREAM: &str = "Content-Type: application/octet-stream\r\n";

#[track_caller]
fn create(api: &Api, body: Value) -> String {
    let made = api.post("/image/v2/images", body).expect(201).json();
    made["id"].as_str().expect("an id").to_owned()
}
fn image(api: &Api, format: &str) -> String {
    create(api, json!({"name": "it-data", "disk_format": format, "container_format": "bare", "visibility": "private"}))
}
#[track_caller]
fn upload(api: &Api, id: &str, bytes: &[u8]) -> Answer {
    api.send_as("PUT", &format!("/image/v2/images/{id}/file"), STREAM, bytes).expect("the API answers")
}
#[track_caller]
fn show(api: &Api, id: &str) -> Value {
    api.get(&format!("/image/v2/images/{id}")).expect(200).json()
}
fn patch(api: &Api, id: &str, changes: Value) -> Answer {
    let kind = "Content-Type: application/openstack-images-v2.1-json-patch\r\n";
    api.send_as("PATCH", &format!("/image/v2/images/{id}"), kind, changes.to_string().as_bytes()).expect("the API answers")
}
fn files(cloud: &Cloud, room: &str) -> usize {
    std::fs::read_dir(cloud.data.join("images").join(room)).expect("the image store").count()
}
#[track_caller]
fn soon(what: &str, is: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(10), "not within 10 s: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_is_refused_leaves_nothing_and_what_is_deleted_goes() {
    let cloud = Cloud::start(&["--simulated", "0"]);
    let demo = cloud.api("demo");
    let before = files(&cloud, "data");

    for (declared, bytes, reason) in corpus::hostile() {
        let id = image(&demo, declared);
        let answer = upload(&demo, &id, &bytes);
        assert_eq!(answer.status, 415, "{reason}: {}", answer.text());
        assert!(answer.text().contains(reason), "{reason}: another reason: {}", answer.text());
        let after = show(&demo, &id);
        assert_eq!(
            (after["status"].as_str(), &after["size"], &after["checksum"]),
            (Some("queued"), &Value::Null, &Value::Null),
            "{reason}"
        );
    }
    assert_eq!((files(&cloud, "incoming"), files(&cloud, "data")), (0, before), "something is left of a refused image");

    // Announced bytes that never come: the connection ends half-way.
    let id = image(&demo, "raw");
    let head_for = |id: &str| {
        let token = &demo.token;
        format!("PUT /image/v2/images/{id}/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\n{STREAM}Content-Length: 1000000\r\n\r\n")
    };
    let head = head_for(&id);
    let mut stream = TcpStream::connect(("127.0.0.1", cloud.port)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&[7; 300_000]).unwrap();
    soon("the upload began", || show(&demo, &id)["status"] == "saving");
    // While it runs, no second one may.
    assert_eq!(upload(&demo, &id, b"other").status, 409);
    drop(stream);
    soon("the image waits again", || show(&demo, &id)["status"] == "queued");
    assert_eq!((files(&cloud, "incoming"), files(&cloud, "data")), (0, before), "something is left of a truncated upload");

    // A chunked upload that ends without its end.
    let mut stream = TcpStream::connect(("127.0.0.1", cloud.port)).unwrap();
    let chunked = head.replace("Content-Length: 1000000", "Transfer-Encoding: chunked");
    stream.write_all(chunked.as_bytes()).unwrap();
    stream.write_all(b"5\r\nhello\r\n").unwrap();
    soon("the upload began", || show(&demo, &id)["status"] == "saving");
    drop(stream);
    soon("the image waits again", || show(&demo, &id)["status"] == "queued");

    // Announced as larger than may be, and announced as two sizes.
    let huge = head.replace("Content-Length: 1000000", "Content-Length: 99999999999999").replace("Host: x", "Host: x\r\nConnection: close");
    assert_eq!(raw(cloud.port, huge.as_bytes()).unwrap().status, 413);
    let two = format!("{STREAM}X-Openstack-Image-Size: 9\r\n");
    assert_eq!(demo.send_as("PUT", &format!("/image/v2/images/{id}/file"), &two, b"12345").unwrap().status, 400);
    let json = "Content-Type: application/json\r\n";
    assert_eq!(demo.send_as("PUT", &format!("/image/v2/images/{id}/file"), json, b"{}").unwrap().status, 415);
    assert_eq!(show(&demo, &id)["status"], "queued");

    // Two images with the same data share it; the last one that goes takes it along.
    upload(&demo, &id, b"the same").expect(204);
    let other = image(&demo, "raw");
    upload(&demo, &other, b"the same").expect(204);
    assert_eq!(show(&demo, &id)["os_hash_value"], show(&demo, &other)["os_hash_value"]);
    assert_eq!(files(&cloud, "data"), before + 1);
    demo.delete(&format!("/image/v2/images/{id}")).expect(204);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(demo.get(&format!("/image/v2/images/{other}/file")).expect(200).body, b"the same");
    demo.delete(&format!("/image/v2/images/{other}")).expect(204);
    soon("the data is gone", || files(&cloud, "data") == before);

    // Deleted while it is being uploaded: the upload hears it, and leaves nothing.
    let id = image(&demo, "raw");
    let mut stream = TcpStream::connect(("127.0.0.1", cloud.port)).unwrap();
    stream.write_all(head_for(&id).as_bytes()).unwrap();
    stream.write_all(&[7; 300_000]).unwrap();
    soon("the upload began", || show(&demo, &id)["status"] == "saving");
    demo.delete(&format!("/image/v2/images/{id}")).expect(204);
    let _ = stream.write_all(&[7; 700_000]);
    soon("nothing is left", || files(&cloud, "incoming") == 0 && files(&cloud, "data") == before);
}

#[test]
fn an_upload_that_a_crash_cuts_off_is_given_up_and_leaves_nothing() {
    let cloud = Cloud::start(&["--simulated", "0"]);
    let demo = cloud.api("demo");
    let id = image(&demo, "raw");
    let mut stream = TcpStream::connect(("127.0.0.1", cloud.port)).unwrap();
    let token = &demo.token;
    let head =
        format!("PUT /image/v2/images/{id}/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\n{STREAM}Content-Length: 1000000\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&[7; 300_000]).unwrap();
    soon("the upload began", || show(&demo, &id)["status"] == "saving");
    assert_eq!(files(&cloud, "incoming"), 1);
    let serve = cloud.pid("serve").expect("the process that serves");
    assert!(std::process::Command::new("kill").args(["-9", &serve.to_string()]).status().unwrap().success());
    let begun = Instant::now();
    let status =
        || demo.send("GET", &format!("/image/v2/images/{id}"), None).ok().filter(|a| a.status == 200).map(|a| a.json()["status"].clone());
    while status() != Some(json!("queued")) {
        assert!(begun.elapsed() < Duration::from_secs(30), "the image still waits for an upload that nobody writes");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!((files(&cloud, "incoming"), files(&cloud, "data")), (0, 0));
    upload(&demo, &id, b"now whole").expect(204);
}

#[test]
fn every_format_goes_in_and_comes_out_with_its_sizes_and_sums() {
    let demo = shared().api("demo");
    for (format, bytes) in corpus::honest() {
        let id = image(&demo, format);
        upload(&demo, &id, &bytes).expect(204);
        let shown = show(&demo, &id);
        assert_eq!(shown["status"], "active", "{shown}");
        assert_eq!(shown["size"], bytes.len());
        assert!(shown["virtual_size"].as_u64().is_some_and(|v| v > 0), "{shown}");
        let got = demo.get(&format!("/image/v2/images/{id}/file")).expect(200);
        assert_eq!(got.header("content-md5"), shown["checksum"].as_str());
        assert_eq!(got.header("content-length"), Some(bytes.len().to_string().as_str()));
        assert!(got.body == bytes, "{format} came back changed");
        // Active data never changes, and neither does its format.
        assert_eq!(upload(&demo, &id, b"other").status, 409);
        assert_eq!(patch(&demo, &id, json!([{"op": "replace", "path": "/disk_format", "value": "raw"}])).status, 403);
    }
}

#[test]
fn parts_of_an_image_can_be_fetched_and_withdrawn_data_not_at_all() {
    let cloud = shared();
    let (demo, admin) = (cloud.api("demo"), cloud.api("admin"));
    let id = image(&demo, "raw");
    let file = format!("/image/v2/images/{id}/file");
    assert_eq!(demo.get(&file).status, 204, "there is no data yet");
    upload(&demo, &id, b"0123456789").expect(204);
    let part = |range: &str| demo.send_as("GET", &file, &format!("Range: {range}\r\n"), b"").unwrap();
    for (range, body, content_range) in
        [("bytes=2-4", &b"234"[..], "bytes 2-4/10"), ("bytes=7-", b"789", "bytes 7-9/10"), ("bytes=-1", b"9", "bytes 9-9/10")]
    {
        let answer = part(range).expect(206);
        assert_eq!((answer.body.as_slice(), answer.header("content-range")), (body, Some(content_range)));
    }
    assert_eq!(part("bytes=10-").status, 416);
    assert_eq!(part("bytes=x-y").status, 416);
    assert_eq!(part("bytes=0-1,3-4").status, 400);

    demo.post(&format!("/image/v2/images/{id}/actions/deactivate"), json!({})).expect(204);
    assert_eq!(show(&demo, &id)["status"], "deactivated");
    assert_eq!(demo.get(&file).status, 403);
    admin.get(&file).expect(200);
    demo.post(&format!("/image/v2/images/{id}/actions/reactivate"), json!({})).expect(204);
    demo.get(&file).expect(200);
}

#[test]
fn another_project_s_image_is_not_there_on_any_call_and_a_public_one_is_read_only() {
    let cloud = shared();
    let (demo, admin) = (cloud.api("demo"), cloud.api("admin"));
    let calls = |id: &str| {
        let base = format!("/image/v2/images/{id}");
        let json = "Content-Type: application/json\r\n";
        let patch = "Content-Type: application/openstack-images-v2.1-json-patch\r\n";
        vec![
            ("PATCH", base.clone(), patch, r#"[{"op":"add","path":"/a","value":"b"}]"#),
            ("DELETE", base.clone(), "", ""),
            ("PUT", format!("{base}/file"), STREAM, "data"),
            ("PUT", format!("{base}/stage"), STREAM, "data"),
            ("POST", format!("{base}/import"), json, r#"{"method":{"name":"glance-direct"}}"#),
            ("POST", format!("{base}/actions/deactivate"), json, ""),
            ("POST", format!("{base}/actions/reactivate"), json, ""),
            ("PUT", format!("{base}/tags/t"), "", ""),
            ("DELETE", format!("{base}/tags/t"), "", ""),
        ]
    };
    let theirs = create(&admin, json!({"disk_format": "raw", "container_format": "bare", "visibility": "private"}));
    for path in ["", "/file", "/members", "/tasks"] {
        assert_eq!(demo.get(&format!("/image/v2/images/{theirs}{path}")).status, 404, "GET {path}");
    }
    for (method, path, headers, body) in calls(&theirs) {
        let answer = demo.send_as(method, &path, headers, body.as_bytes()).unwrap();
        assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text());
    }
    let public = create(&admin, json!({"disk_format": "raw", "container_format": "bare", "visibility": "public"}));
    show(&demo, &public);
    for (method, path, headers, body) in calls(&public) {
        let answer = demo.send_as(method, &path, headers, body.as_bytes()).unwrap();
        assert_eq!(answer.status, 403, "{method} {path}: {}", answer.text());
    }
    for id in ["nonsense", "00000000-0000-0000-0000-000000000000", "..%2f..%2fetc"] {
        assert_eq!(demo.get(&format!("/image/v2/images/{id}")).status, 404);
        assert_eq!(demo.delete(&format!("/image/v2/images/{id}")).status, 404);
    }
    let mine = demo.post("/image/v2/images", json!({"visibility": "public"}));
    assert_eq!(mine.status, 403, "{}", mine.text());
    let owned = demo.post("/image/v2/images", json!({"owner": admin.project}));
    assert_eq!(owned.status, 403, "{}", owned.text());
}

#[test]
fn what_strata_measures_no_client_can_set() {
    let demo = shared().api("demo");
    let id = image(&demo, "raw");
    for name in [
        "status",
        "checksum",
        "size",
        "virtual_size",
        "os_hash_algo",
        "os_hash_value",
        "created_at",
        "updated_at",
        "id",
        "self",
        "file",
        "schema",
    ] {
        let answer = patch(&demo, &id, json!([{"op": "replace", "path": format!("/{name}"), "value": "active"}]));
        assert_eq!(answer.status, 403, "{name}: {}", answer.text());
        assert!(
            answer.text().contains(&format!("Attribute &#x27;{name}&#x27; is read-only.")) || answer.text().contains("is read-only."),
            "{}",
            answer.text()
        );
        if name != "id" {
            assert_eq!(demo.post("/image/v2/images", json!({name: "active"})).status, 403, "{name}");
        }
    }
    for (changes, status) in [
        (json!([{"op": "replace", "path": "/locations", "value": [{"url": "file:///etc/passwd", "metadata": {}}]}]), 403),
        (json!([{"op": "add", "path": "/locations/-", "value": {"url": "http://169.254.169.254/", "metadata": {}}}]), 403),
        (json!([{"op": "add", "path": "/os_glance_stage_host", "value": "http://127.0.0.1"}]), 403),
        (json!([{"op": "replace", "path": "/visibility", "value": "public"}]), 403),
        (json!([{"op": "replace", "path": "/owner", "value": "00000000000000000000000000000000"}]), 403),
        (json!([{"op": "replace", "path": "/name", "value": "x".repeat(256)}]), 400),
        (json!({"op": "add"}), 400),
    ] {
        let answer = patch(&demo, &id, changes.clone());
        assert_eq!(answer.status, status, "{changes}: {}", answer.text());
    }
    let kind = "Content-Type: application/openstack-images-v2.1-json-patch\r\n";
    assert_eq!(demo.send_as("PATCH", &format!("/image/v2/images/{id}"), kind, b"[{\"op\":\"\xff\xfe\"}]").unwrap().status, 400);
    assert_eq!(show(&demo, &id)["status"], "queued");
}

#[test]
fn an_import_takes_staged_data_only_if_it_will_do_and_nothing_is_fetched_from_anywhere() {
    let demo = shared().api("demo");
    let run = |format: &str, bytes: &[u8]| {
        let id = image(&demo, format);
        let import = format!("/image/v2/images/{id}/import");
        let glance_direct = json!({"method": {"name": "glance-direct"}});
        assert_eq!(demo.post(&import, glance_direct.clone()).status, 409, "nothing is staged yet");
        for method in [
            json!({"name": "web-download", "uri": "http://169.254.169.254/latest"}),
            json!({"name": "glance-download"}),
            json!({"name": "copy-image"}),
        ] {
            assert_eq!(demo.post(&import, json!({"method": method})).status, 400);
        }
        demo.send_as("PUT", &format!("/image/v2/images/{id}/stage"), STREAM, bytes).unwrap().expect(204);
        assert_eq!(show(&demo, &id)["status"], "uploading");
        demo.post(&import, glance_direct).expect(202);
        let tasks = demo.get(&format!("/image/v2/images/{id}/tasks")).expect(200).json();
        (show(&demo, &id)["status"].clone(), tasks["tasks"][0].clone())
    };
    let (status, task) = run("qcow2", &corpus::qcow2(3));
    assert_eq!((status, &task["status"]), (json!("active"), &json!("success")), "{task}");
    let (status, task) = run("qcow2", &corpus::with(corpus::qcow2(3), 72, &4u64.to_be_bytes()));
    assert_eq!((status, &task["status"]), (json!("queued"), &json!("failure")), "{task}");
    assert!(task["message"].as_str().is_some_and(|m| m.contains("an external data file")), "{task}");
    let methods = demo.get("/image/v2/info/import").expect(200).json();
    assert_eq!(methods["import-methods"]["value"], json!(["glance-direct"]));
}

#[test]
fn sharing_takes_an_offer_and_an_answer() {
    let cloud = shared();
    let (demo, admin) = (cloud.api("demo"), cloud.api("admin"));
    let id = create(&admin, json!({"name": "it-shared", "disk_format": "raw", "container_format": "bare", "visibility": "shared"}));
    let members = format!("/image/v2/images/{id}/members");
    assert_eq!(demo.get(&members).status, 404);
    let offered = admin.post(&members, json!({"member": demo.project})).expect(200).json();
    assert_eq!((&offered["status"], &offered["member_id"]), (&json!("pending"), &json!(demo.project)));
    assert_eq!(admin.post(&members, json!({"member": demo.project})).status, 409);
    assert_eq!(demo.post(&members, json!({"member": admin.project})).status, 403);
    let listed = |query: &str| {
        let all = demo.get(&format!("/image/v2/images?{query}")).expect(200).json();
        all["images"].as_array().is_some_and(|all| all.iter().any(|i| i["id"] == id.as_str()))
    };
    assert!(!listed("limit=1000") && listed("limit=1000&member_status=pending") && listed("limit=1000&member_status=all"));
    show(&demo, &id);
    let me = format!("{members}/{}", demo.project);
    assert_eq!(demo.send("PUT", &me, Some(&json!({"status": "maybe"}))).unwrap().status, 400);
    demo.send("PUT", &me, Some(&json!({"status": "accepted"}))).unwrap().expect(200);
    assert!(listed("limit=1000&visibility=shared"));
    assert_eq!(demo.delete(&me).status, 403);
    admin.delete(&me).expect(204);
    assert_eq!(demo.get(&format!("/image/v2/images/{id}")).status, 404);
}

#[test]
fn lists_are_filtered_sorted_and_paged() {
    let demo = shared().api("demo");
    let tag = format!("it-list-{}", std::process::id());
    for (name, size) in [("c", 3), ("a", 1), ("b", 2)] {
        let id = create(
            &demo,
            json!({"name": name, "disk_format": "raw", "container_format": "bare", "tags": [tag], "os_distro": format!("d{size}")}),
        );
        upload(&demo, &id, &vec![0; size]).expect(204);
    }
    let names = |query: &str| -> Vec<String> {
        let list = demo.get(&format!("/image/v2/images?tag={tag}&{query}")).expect(200).json();
        list["images"].as_array().unwrap().iter().map(|i| i["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(""), ["b", "a", "c"]);
    assert_eq!(names("sort=name:asc"), ["a", "b", "c"]);
    assert_eq!(names("sort_key=size&sort_dir=desc"), ["c", "b", "a"]);
    assert_eq!(names("name=in:a,c&sort=name:asc"), ["a", "c"]);
    assert_eq!(names("size_min=2&size_max=2"), ["b"]);
    assert_eq!(names("os_distro=d3"), ["c"]);
    assert_eq!(names("created_at=gt:2999-01-01T00:00:00Z"), [""; 0]);
    assert_eq!(names("status=queued"), [""; 0]);
    assert_eq!(names("os_hidden=true"), [""; 0]);
    let mut seen = vec![];
    let mut path = format!("/v2/images?tag={tag}&limit=1&sort=name:asc");
    for _ in 0..10 {
        let page = demo.get(&format!("/image{path}")).expect(200).json();
        seen.extend(page["images"].as_array().unwrap().iter().map(|i| i["name"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => path = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, ["a", "b", "c"]);
    for bad in [
        "limit=-1",
        "limit=x",
        "marker=nonsense",
        "sort_key=owner",
        "sort_dir=up",
        "visibility=none",
        "member_status=no",
        "changes-since=1",
    ] {
        assert_eq!(demo.get(&format!("/image/v2/images?{bad}")).status, 400, "{bad}");
    }
}

#[test]
fn discovery_and_schemas_are_what_clients_expect() {
    let demo = shared().api("demo");
    let versions = demo.get("/image/").expect(300).json();
    assert!(versions["versions"].as_array().unwrap().iter().any(|v| v["id"] == "v2.9" && v["status"] == "SUPPORTED"), "{versions}");
    demo.get("/image/versions").expect(200);
    for (name, key) in [("image", "name"), ("images", "links"), ("member", "properties"), ("members", "properties"), ("task", "properties")]
    {
        assert!(demo.get(&format!("/image/v2/schemas/{name}")).expect(200).json()[key] != Value::Null, "{name}");
    }
    let fault = demo.send_as("GET", "/image/v2/images/x", "Accept: application/json\r\n", b"").unwrap().expect(404);
    assert_eq!(fault.json()["title"], "Not Found");
    let fault = demo.send_as("GET", "/image/v2/images/x", "Accept: */*\r\n", b"").unwrap().expect(404);
    assert!(fault.text().contains("<h1>404 Not Found</h1>"), "{}", fault.text());
}
