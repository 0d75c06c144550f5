"""Publishers' formats, in samples as they are distributed: what is read, and every wrong line named."""

import json

import pytest

from vidjax.data.listing import annotations as formats
from vidjax.data.listing.activitynet import parse_activitynet
from vidjax.data.listing.annotations import AnnotationFile, ClassIndex
from vidjax.data.listing.datasets import DATASETS
from vidjax.data.text import DataError

UCF = """ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1
HandstandPushups/v_HandStandPushups_g25_c07.avi 37
YoYo/v_YoYo_g25_c05.avi 101
"""
HMDB = """April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1
Aussie_Brunette_Brushing_Hair_II_brush_hair_u_nm_np1_ri_med_3.avi 2
atheismblah_brush_hair_u_cm_np1_fr_med_0.avi 0
"""
KINETICS = """label,youtube_id,time_start,time_end,split
testifying,---QUuC4vJs,84,94,validate
eating spaghetti,--3ouPhoy2A,20,30,validate
"passing American football (in game)",_-5p,0,10,train
playing squash or racquetball,abc,1,11,test
"""
KINETICS_JSON = {
    "---QUuC4vJs": {
        "annotations": {"label": "testifying", "segment": [84.0, 94.0]},
        "duration": 10.0, "subset": "validate", "url": "https://www.youtube.com/watch?v=---QUuC4vJs",
    },
    "0Wh": {"annotations": {"label": "yoga", "segment": [3, 13]}, "duration": 10.0, "subset": "train", "url": ""},
}  # fmt: skip
SOMETHING_V1 = """100218;Something falling like a feather or paper
24413;Pushing something from left to right
"""
JESTER = """34870;Drumming Fingers
56557;Sliding Two Fingers Right
"""
SOMETHING_V2 = [
    {"id": "78687", "label": "holding potato next to vicks vaporub bottle",
     "template": "Holding [something] next to [something]", "placeholders": ["potato", "vicks vaporub bottle"]},
    {"id": "42326", "label": "spreading margarine onto bread",
     "template": "Spreading [something] onto [something]", "placeholders": ["margarine", "bread"]},
]  # fmt: skip
CHARADES = """id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length
46GP8,HR43,Kitchen,6,7,Yes,"A person cooking on a stove, while watching.",food;stove,"A person cooks.",\
c092 11.90 21.20;c147 0.00 12.60,24.83
N11GT,0KZ7,Stairs,6,7,Yes,A person is walking.,shoe,Someone walks.,,18.33
"""
DIVING = [
    {"vid_name": "IxnOVgBBAQ4_00000", "label": 26, "start_frame": 0, "end_frame": 81},
    {"vid_name": "W6Hw3gyKmXw_00188", "label": 0, "start_frame": 0, "end_frame": 121},
]
ACTIVITYNET = {
    "version": "VERSION 1.3",
    "taxonomy": [],
    "database": {
        "sJxn3QKkbxA": {"duration": 55.0, "subset": "training", "resolution": "320x240", "url": "https://…",
                        "annotations": [{"segment": [0.5, 9.25], "label": "Surfing"},
                                        {"segment": [20, 55.0], "label": "Arm wrestling"}]},
        "Hnl_z0yEg0Q": {"duration": 10.0, "subset": "validation", "resolution": "320x240", "url": "https://…",
                        "annotations": [{"segment": [1.0, 2.0], "label": "Surfing"}]},
        "zzz": {"duration": 10.0, "subset": "testing", "resolution": "320x240", "url": "https://…", "annotations": []},
    },
}  # fmt: skip
MOMENTS = """yawning/flickr-1-2-6-7-6-7-8-5-1267678518_12.mp4,yawning,4,0
adult+female+singing/getty-x_7.mp4,adult+female+singing,3,1
"""


def parse(tmp_path, dataset, name, text, role="train"):
    file = tmp_path / name
    file.write_text(text if isinstance(text, str) else json.dumps(text, indent=1, ensure_ascii=False))
    definition = DATASETS[dataset]
    found = definition.parse(AnnotationFile(file, role, ClassIndex(definition.class_names)))
    return [(row.path, list(row.labels), row.group) for row in found]


def test_ucf101(tmp_path):
    assert parse(tmp_path, "ucf101", "trainlist01.txt", UCF) == [
        ("ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi", ["ApplyEyeMakeup"], "ApplyEyeMakeup_g08"),
        ("HandstandPushups/v_HandStandPushups_g25_c07.avi", ["HandstandPushups"], "HandstandPushups_g25"),
        ("YoYo/v_YoYo_g25_c05.avi", ["YoYo"], "YoYo_g25"),
    ]
    alone = "".join(line.split()[0] + "\r\n" for line in UCF.splitlines())
    assert len(parse(tmp_path, "ucf101", "testlist01.txt", alone, "eval")) == 3


@pytest.mark.parametrize(("split", "train", "test"), [(1, 9537, 3783), (2, 9586, 3734), (3, 9624, 3696)])
def test_ucf101_official_lists(shared, split, train, test):
    """Every line of the published splits is read, and no group is on both sides."""
    folder = shared / "data" / "labels" / "ucfTrainTestlist"
    classes = ClassIndex(DATASETS["ucf101"].class_names)
    ours = formats.parse_ucf101(AnnotationFile(folder / f"trainlist{split:02d}.txt", "train", classes))
    theirs = formats.parse_ucf101(AnnotationFile(folder / f"testlist{split:02d}.txt", "eval", classes))
    assert (len(ours), len(theirs)) == (train, test)
    assert not {a.group for a in ours} & {a.group for a in theirs}
    assert {a.labels for a in ours} == {a.labels for a in theirs} == {(name,) for name in classes.names}


def test_hmdb51(tmp_path):
    found = {role: parse(tmp_path, "hmdb51", "brush_hair_test_split1.txt", HMDB, role) for role in ("train", "eval")}
    assert found["train"] == [("brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi", ["brush_hair"], "")]
    assert [path for path, _, _ in found["eval"]] == [
        "brush_hair/Aussie_Brunette_Brushing_Hair_II_brush_hair_u_nm_np1_ri_med_3.avi"
    ]


def test_kinetics_csv(tmp_path):
    assert parse(tmp_path, "kinetics700", "all.csv", KINETICS.replace("test\n", "validate\n"), "eval") == [
        ("testifying/---QUuC4vJs_000084_000094", ["testifying"], "---QUuC4vJs"),
        ("eating spaghetti/--3ouPhoy2A_000020_000030", ["eating spaghetti"], "--3ouPhoy2A"),
        ("playing squash or racquetball/abc_000001_000011", ["playing squash or racquetball"], "abc"),
    ]
    train = parse(tmp_path, "kinetics700", "all.csv", KINETICS)
    assert [labels for _, labels, _ in train] == [["passing American football (in game)"]]
    only_test = "\n".join([KINETICS.splitlines()[0], KINETICS.splitlines()[4]])
    assert len(parse(tmp_path, "kinetics700", "test.csv", only_test, "eval")) == 1


def test_kinetics_json(tmp_path):
    assert parse(tmp_path, "kinetics400", "val.json", KINETICS_JSON, "eval") == [
        ("testifying/---QUuC4vJs_000084_000094", ["testifying"], "---QUuC4vJs")
    ]
    assert parse(tmp_path, "kinetics400", "train.json", KINETICS_JSON)[0][0] == "yoga/0Wh_000003_000013"


def test_something_and_jester(tmp_path):
    assert parse(tmp_path, "something_v1", "train.csv", SOMETHING_V1) == [
        ("100218", ["Something falling like a feather or paper"], ""),
        ("24413", ["Pushing something from left to right"], ""),
    ]
    assert parse(tmp_path, "something_v2", "train.json", SOMETHING_V2) == [
        ("78687", ["Holding something next to something"], ""),
        ("42326", ["Spreading something onto something"], ""),
    ]
    assert parse(tmp_path, "jester", "train.csv", JESTER)[1] == ("56557", ["Sliding Two Fingers Right"], "")


def test_charades_has_all_actions_of_a_video_or_none(tmp_path):
    assert parse(tmp_path, "charades", "Charades_v1_train.csv", CHARADES) == [
        ("46GP8", ["Watching/Looking outside of a window", "Someone is cooking something"], "HR43"),
        ("N11GT", [], "0KZ7"),
    ]


def test_charades_has_the_times_of_its_actions(tmp_path):
    (tmp_path / "a.csv").write_text(CHARADES)
    classes = ClassIndex(DATASETS["charades"].class_names)
    first, second = formats.parse_charades(AnnotationFile(tmp_path / "a.csv", "train", classes))
    assert first.annotation.spans == ((11.9, 21.2, classes.names[92]), (0.0, 12.6, classes.names[147]))
    assert second.annotation.spans == ()


HVU = [
    {
        "filename": "wash/--0edUL8zmA_001015_001035.mp4",
        "label": {"concept": [250, 131], "object": [1570], "action": [180]},
    },
    {"filename": "a/b.mp4", "label": {"scene": []}},
]


def test_hvu_has_the_categories_that_are_annotated(tmp_path):
    assert parse(tmp_path, "hvu", "hvu_train_video.json", HVU) == [
        ("wash/--0edUL8zmA_001015_001035.mp4", ["action/180", "concept/131", "concept/250", "object/1570"], ""),
        ("a/b.mp4", [], ""),
    ]
    classes = ClassIndex(DATASETS["hvu"].class_names)
    rows = formats.parse_hvu(AnnotationFile(tmp_path / "hvu_train_video.json", "train", classes))
    assert [row.annotation.categories for row in rows] == [("action", "concept", "object"), ("scene",)]


def test_diving48_and_moments(tmp_path):
    assert parse(tmp_path, "diving48", "train.json", DIVING) == [
        ("IxnOVgBBAQ4_00000", ["Forward+35som+NoTwis+PIKE"], ""),
        ("W6Hw3gyKmXw_00188", ["Back+15som+05Twis+FREE"], ""),
    ]
    assert [labels for _, labels, _ in parse(tmp_path, "moments", "trainingSet.csv", MOMENTS)] == [
        ["yawning"], ["adult+female+singing"],
    ]  # fmt: skip


def test_activitynet_has_a_record_per_segment(tmp_path):
    file = tmp_path / "activity_net.v1-3.min.json"
    file.write_text(json.dumps(ACTIVITYNET))
    classes = ClassIndex(DATASETS["activitynet"].class_names)
    found = parse_activitynet(AnnotationFile(file, "train", classes))
    assert [(a.path, a.labels[0], a.start, a.end) for a in found] == [
        ("v_sJxn3QKkbxA", "Surfing", 0.5, 9.25),
        ("v_sJxn3QKkbxA", "Arm wrestling", 20.0, 55.0),
    ]
    assert [a.path for a in parse_activitynet(AnnotationFile(file, "eval", classes))] == ["v_Hnl_z0yEg0Q"]


HEADER = KINETICS.splitlines()[0] + "\n"


@pytest.mark.parametrize(
    ("dataset", "name", "text", "message"),
    [
        ("ucf101", "a.txt", UCF + "YoYo/video.avi 101\n", r"a.txt:4: not of the form"),
        ("ucf101", "a.txt", UCF + "YoYoo/v_YoYoo_g25_c05.avi\n", r"a.txt:4: label 'YoYoo' is not one of.*'YoYo'"),
        ("ucf101", "a.txt", UCF.replace(" 101", " 100"), r"a.txt:3: class 'YoYo' has the number 101, not '100'"),
        ("hmdb51", "wave_test_split1.txt", HMDB + "x.avi\n", r"split1.txt:4: not a file name followed by"),
        ("hmdb51", "waves_test_split1.txt", HMDB, r"label 'waves' is not one of the 51.*'wave'"),
        ("hmdb51", "wave.txt", HMDB, r"wave.txt: the files of HMDB-51 are named"),
        ("kinetics400", "a.csv", HEADER + "yogi,abc,1,11,train\n", r"a.csv:2: label 'yogi' is not one.*'yoga'"),
        ("kinetics400", "a.csv", HEADER + "yoga,abc,1,x,train\n", r"a.csv:2: not a YouTube id with start and end"),
        ("kinetics400", "a.csv", HEADER + "yoga,abc,11,1,train\n", r"a.csv:2: not a YouTube id with start and end"),
        ("kinetics400", "a.csv", HEADER + "yoga,abc,1,train\n", r"a.csv:2: 4 cells where the header has 5"),
        ("kinetics400", "a.csv", "youtube_id,time_start,time_end,split\n", r"a.csv:1: no column 'label'"),
        ("kinetics400", "a.csv", HEADER + '"yoga,abc,1,11,train\n', r"a.csv:\d: not a valid CSV line"),
        ("kinetics400", "a.json", {"x": {"annotations": {"label": "yoga"}}}, r"a.json:2: x: needs annotations"),
        ("kinetics400", "a.json", {"ok": KINETICS_JSON["0Wh"], "x": {**KINETICS_JSON["0Wh"], "annotations": {
            "label": "yogi", "segment": [1, 2]}}}, r"a.json:1\d: x: label 'yogi' is not one"),
        ("kinetics400", "a.json", "[]", r"a.json:1: must hold an object"),
        ("something_v1", "a.csv", SOMETHING_V1 + "5\n", r"a.csv:3: not of the form id;label"),
        ("jester", "a.csv", JESTER + "5;Swiping Lft\n", r"a.csv:3: label 'Swiping Lft' .*'Swiping Left'"),
        ("something_v2", "a.json", SOMETHING_V2 + [{"id": "5"}], r"a.json:\d\d: 5: has no template"),
        ("something_v2", "a.json", [*SOMETHING_V2, {"id": "5", "template": "Hold it"}], r"a.json:\d\d: 5: label 'Hold"),
        ("something_v2", "a.json", [{"label": "x"}], r"a.json: entry 1 has no 'id'"),
        ("something_v2", "a.json", '[{"id": "1",\n]', r"a.json:2: not valid JSON"),
        ("charades", "a.csv", CHARADES.replace("c147", "c157"), r"a.csv:2: there is no class c157; .* c156"),
        ("charades", "a.csv", CHARADES.replace("0.00 12.60", "0.00"), r"a.csv:2: not of the form c092"),
        ("hvu", "a.json", [{"filename": "x.mp4", "label": [1]}], r"a.json:3: x.mp4: has no label of the form"),
        ("hvu", "a.json", [{"filename": "x.mp4", "label": {"place": [1]}}], r"x.mp4: there is no category 'place'"),
        ("hvu", "a.json", [{"filename": "x.mp4", "label": {"event": [69]}}], r"x.mp4: there is no class event/69"),
        ("diving48", "a.json", [{"vid_name": "x_0", "label": 48}], r"a.json:3: x_0: label 48 is not a number in 0…47"),
        ("activitynet", "a.json", {"videos": {}}, r"a.json: no 'database'"),
        ("activitynet", "a.json", {"database": {"x": {"subset": "training", "annotations": [{"label": "Surfing"}]}}},
         r"a.json:3: x: not a label with a segment"),
        ("activitynet", "a.json", {"database": {"x": {"subset": "training", "annotations": [
            {"segment": [9, 1], "label": "Surfing"}]}}}, r"a.json:3: x: not a label with a segment"),
        ("moments", "a.csv", MOMENTS + "yawning.mp4,yawning,1,1\n", r"a.csv:3: not of the form class/name.mp4"),
        ("moments", "a.csv", MOMENTS + "yawningg/a.mp4,yawning,1,1\n", r"a.csv:3: label 'yawningg'"),
    ],
)  # fmt: skip
def test_wrong_lines_are_named(tmp_path, dataset, name, text, message):
    with pytest.raises(DataError, match=message):
        parse(tmp_path, dataset, name, text)


def test_all_wrong_lines_are_in_one_error(tmp_path):
    text = HEADER + "yogi,abc,1,11,train\nyoga,abc,1\nyoga,abc,1,x,train\n"
    with pytest.raises(DataError) as error:
        parse(tmp_path, "kinetics400", "a.csv", text)
    assert all(f"a.csv:{line}: " in str(error.value) for line in (2, 3, 4))


def test_not_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not a UTF-8 text file"):
        formats.parse_ucf101(AnnotationFile(tmp_path / "a.txt", "train", ClassIndex(("a",))))
