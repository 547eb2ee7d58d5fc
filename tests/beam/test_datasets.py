"""What becomes of the original annotation files: spans, captions, labels and their ids."""

import json
import os
import pathlib
import shutil

import pytest

from helpers import annotations, watch
from helpers.annotations import touch, write
from mmv_tf.beam.datasets import catalog
from mmv_tf.beam.specs import ClipSpec
from mmv_tf.records.schema import Caption


def _read(name, request, **changes):
    """(Inputs, {path: clips}) after the sources have been read."""
    inputs = catalog.read(name, request._replace(**changes))
    sources = list(inputs.sources)
    assert len({source.path for source in sources}) == len(sources)
    return inputs, {source.path: source.clips for source in sources}


def _missing(inputs):
    assert {rejection.reason for rejection in inputs.rejections} <= {"missing_file"}
    return [rejection.path for rejection in inputs.rejections]


def _whole(*labels):
    return (ClipSpec(0.0, None, (), labels),)


def _said(text):
    return (Caption(text, None, None),)


def test_ucf101(tmp_path):
    name, request, _ = annotations.ucf101(tmp_path)
    inputs, clips = _read(name, request)
    assert inputs.labels == ("ApplyEyeMakeup", "ApplyLipstick", "YoYo")
    assert clips == {
        "YoYo/v_YoYo_g08_c01.avi": _whole("YoYo"),
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi": _whole("ApplyEyeMakeup"),
    }
    assert _missing(inputs) == ["v_ApplyEyeMakeup_g08_c02"]
    inputs, clips = _read(name, request, split="test")
    assert clips == {"YoYo/v_YoYo_g01_c01.avi": _whole("YoYo")} and _missing(inputs) == ["v_ApplyEyeMakeup_g01_c01"]
    _, clips = _read(name, request, fold=2)
    assert list(clips) == ["YoYo/v_YoYo_g01_c01.avi"]
    # From the folder of everything, and from the file itself.
    for given in (tmp_path, tmp_path / "ucfTrainTestlist/trainlist02.txt"):
        assert _read(name, request, annotations=given, fold=2)[1] == clips


def test_ucf101_spells_one_class_in_two_ways(tmp_path):
    """The official lists have HandstandPushups/v_HandStandPushups_..., some copies of the videos v_HandstandPushups."""
    name, request, (trainlist, classes) = annotations.ucf101(tmp_path)
    write(classes, "1 HandstandPushups\n")
    write(trainlist, "".join(f"HandstandPushups/v_HandStandPushups_g08_c0{n}.avi 1\n" for n in (1, 2, 3)))
    touch(tmp_path / "UCF-101/HandstandPushups", "v_HandStandPushups_g08_c01.avi", "v_HandstandPushups_g08_c02.avi")
    inputs, clips = _read(name, request)
    assert sorted(clips) == [f"HandstandPushups/v_Hand{n}andPushups_g08_c0{k}.avi" for n, k in (("St", 1), ("st", 2))]
    assert len(_missing(inputs)) == 1


def test_ucf101_contradictions(tmp_path):
    name, request, (trainlist, _) = annotations.ucf101(tmp_path)
    with pytest.raises(ValueError, match=r"trainlist01.txt: it is not testlist01.txt, which --split and --fold mean"):
        _read(name, request, annotations=trainlist, split="test")
    with pytest.raises(ValueError, match=r"no trainlist03.txt in it; expected the folder ucfTrainTestlist .*crcv.ucf"):
        _read(name, request, fold=3)
    write(trainlist, "YoYo/v_YoYo_g08_c01.avi 3\nYoYo/v_YoYo_g08_c02.avi 2\n")
    with pytest.raises(ValueError, match="trainlist01.txt: line 2: class 2, but classInd.txt says 3 for YoYo"):
        _read(name, request)
    write(trainlist, "\nYo/v_Yo_g08_c01.avi 3\n")
    with pytest.raises(ValueError, match="trainlist01.txt: line 2: .* of none of the classes"):
        _read(name, request)


def test_hmdb51(tmp_path):
    name, request, files = annotations.hmdb51(tmp_path)
    inputs, clips = _read(name, request)
    assert inputs.labels == ("brush_hair", "smile")
    assert clips == {
        "brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi": _whole("brush_hair"),
        "smile/a_smile_h_cm_np1_fr_goo_0.avi": _whole("smile"),
    }
    assert _missing(inputs) == ["x_brush_hair_1"]
    assert list(_read(name, request, split="test")[1]) == ["smile/b(1)_smile_#2_np1_goo_1.avi"]
    assert _read(name, request, annotations=tmp_path)[1] == _read(name, request, annotations=files[0])[1] == clips
    assert list(_read(name, request, fold=2)[1]) == ["smile/c_smile_0.avi"]
    with pytest.raises(ValueError, match="no file of fold 2"):
        _read(name, request, annotations=files[0], fold=2)
    write(files[0], "a_smile.avi 1\nb_smile.avi 3\n")
    with pytest.raises(ValueError, match="smile_test_split1.txt: line 2: expected the name of a video and 0, 1 or 2"):
        _read(name, request)


def test_audioset(tmp_path):
    name, request, (segments, _) = annotations.audioset(tmp_path)
    inputs, clips = _read(name, request)
    assert inputs.labels[1:4] == ("Male speech, man speaking", "Keys jangling", "Car") and len(inputs.labels) == 6
    assert clips == {
        "-0RWZT-miFs_420.000_430.000.mkv": _whole("Car", "Keys jangling"),
        "deep/--4gqARaEJE_0_10000.wav": _whole("Domestic animals, pets", "Squeak"),
        "--PJHxphWEs_30000.webm": _whole("Car"),
    }
    assert _missing(inputs) == ["gone0000000"]
    write(segments, segments.read_text() + '--PJHxphWEs, 30, 40, "/m/0nope"\n')
    with pytest.raises(ValueError, match="train_segments.csv: line 8: label '/m/0nope' is none of the classes"):
        _read(name, request)


def test_whole_videos_are_told_from_segments_by_the_option(tmp_path):
    name, request, (segments, classes) = annotations.audioset(tmp_path)
    touch(tmp_path / "sounds", "gone0000000.mp4")
    with pytest.raises(ValueError, match="line 7: gone0000000.mp4 is named by the id alone: say with --files=whole"):
        _read(name, request)
    assert _read(name, request, files="whole")[1]["gone0000000.mp4"] == (ClipSpec(30.0, 40.0, (), ("Car",)),)
    assert _read(name, request, files="cut")[1]["gone0000000.mp4"] == _whole("Car")
    touch(tmp_path / "sounds", "Y--PJHxphWEs.wav")
    os.remove(tmp_path / "sounds/--PJHxphWEs_30000.webm")
    assert _read(name, request, files="whole")[1]["Y--PJHxphWEs.wav"] == (ClipSpec(30.0, 40.0, (), ("Car",)),)
    # A second segment of the same video; the same segment again joins its labels; times that are none cost the row.
    more = 'gone0000000, 10, 20, "/m/09x0r"\ngone0000000, 10.0, 20.0, "/m/0k4j"\ngone0000000, 20, 10, ""\n'
    write(segments, segments.read_text() + more, bom=True, crlf=True)
    inputs, clips = _read(name, request, files="whole", annotations=segments, classes=classes)
    assert clips["gone0000000.mp4"] == (
        ClipSpec(10.0, 20.0, (), ("Car", "Speech")),
        ClipSpec(30.0, 40.0, (), ("Car",)),
    )
    assert inputs.remarks.numbers["row_joined"] == 1
    assert [(r.path, r.reason) for r in inputs.rejections] == [("gone0000000", "bad_row")]
    assert "line 10: end 10 is not after start 20" in inputs.rejections[0].detail


def test_kinetics600(tmp_path):
    name, request, (train,) = annotations.kinetics600(tmp_path)
    inputs, clips = _read(name, request)
    odd = "photographing, (still) 'life'"
    assert inputs.labels == ("abseiling", odd, "riding a bike", "zumba")
    assert clips == {
        "riding a bike/-3B32lodo2M_000059_000069.mp4": _whole("riding a bike"),
        "0QHKb1vWeqE_000005_000015.mp4": _whole(odd),
    }
    assert _missing(inputs) == ["gone0000000"]
    inputs, clips = _read(name, request, split="val")
    assert inputs.labels[3] == "zumba" and clips == {"val/zumba/aaaaaaaaaaa_000000_000010.mp4": _whole("zumba")}
    with pytest.raises(ValueError, match="train.csv: no row of the split test; it has train"):
        _read(name, request, split="test", annotations=train)
    names = write(tmp_path / "names.txt", '"abseiling"\nriding a bike\n')
    with pytest.raises(ValueError, match="train.csv: line 3: label .* is none of the --classes"):
        _read(name, request, classes=names)


def test_esc50(tmp_path):
    name, request, (meta,) = annotations.esc50(tmp_path)
    inputs, clips = _read(name, request)
    assert len(inputs.labels) == 28
    assert [inputs.labels[n] for n in (0, 1, 2, 27)] == ["dog", "rooster", "(class 2)", "brushing_teeth"]
    assert clips == {"1-100032-A-0.wav": _whole("dog"), "1-17092-A-27.wav": _whole("brushing_teeth")}
    assert _missing(inputs) == ["1-99999-A-0"]
    assert list(_read(name, request, split="fold2", annotations=meta)[1]) == ["2-104105-A-1.wav"]
    with pytest.raises(ValueError, match="nothing of the split fold3"):
        _read(name, request, split="fold3")
    write(meta, meta.read_text() + "2-1-A-1.wav,2,1,hen,True,1,A\n")
    with pytest.raises(ValueError, match="esc50.csv: line 6: target 1 is 'hen' here, 'rooster' before"):
        _read(name, request)


def test_youcook2(tmp_path):
    name, request, (file,) = annotations.youcook2(tmp_path)
    inputs, clips = _read(name, request)
    first = ClipSpec(47.0, 60.0, _said("pick the ends off the verdalago"))
    assert clips == {
        "-3ABQ8yXGBs.webm": (first,),
        "training/113/xHr8X2Wpmno.mkv": (first, ClipSpec(67.5, 89.0, _said("combine lemon juice, sumac & salt"))),
    }
    assert _missing(inputs) == ["gone0000000"]
    assert list(_read(name, request, split="val", annotations=file)[1]) == ["validation/105/V53XmPeyjIU.mp4"]
    with pytest.raises(ValueError, match="no video of the subset testing; it has training, validation"):
        _read(name, request, split="test")
    content = json.loads(file.read_text())
    content["database"]["-3ABQ8yXGBs"]["annotations"] += [{"segment": [9, 3], "sentence": "x"}, {"id": 1}, 7]
    write(file, json.dumps(content))
    inputs, clips = _read(name, request)
    assert clips["-3ABQ8yXGBs.webm"] == (first,)
    assert [r.reason for r in inputs.rejections] == ["bad_row"] * 3 + ["missing_file"]


def test_youcook2_publishes_its_test_set_without_sentences(tmp_path):
    name, request, _ = annotations.youcook2(tmp_path)
    video = {"duration": 20, "subset": "testing", "recipe_type": "101", "annotations": [{"segment": [1, 4], "id": 0}]}
    file = tmp_path / "youcookii_annotations_test_segments_only.json"
    write(file, json.dumps({"database": {"-3ABQ8yXGBs": video}}))
    assert _read(name, request, split="test")[1] == {"-3ABQ8yXGBs.webm": (ClipSpec(1.0, 4.0),)}
    assert "training/113/xHr8X2Wpmno.mkv" in _read(name, request)[1]


def test_youcook2_in_the_csv_of_milnce(tmp_path):
    name, request, _ = annotations.youcook2(tmp_path)
    rows = "end,start,task,text,video_id\n60,47,226,pick the ends off,V53XmPeyjIU\n36,33,105,brine,gone0000000\n"
    file = write(tmp_path / "validation_youcook.csv", rows)
    inputs, clips = _read(name, request, split="val", annotations=file)
    assert clips == {"validation/105/V53XmPeyjIU.mp4": (ClipSpec(47.0, 60.0, _said("pick the ends off")),)}
    assert _missing(inputs) == ["gone0000000"]


def test_msrvtt(tmp_path):
    name, request, (file,) = annotations.msrvtt(tmp_path)
    inputs, clips = _read(name, request)
    assert sorted(clips) == ["TrainValVideo/video0.mp4", "TrainValVideo/video1.mp4"]
    (clip,) = clips["TrainValVideo/video1.mp4"]
    assert clip[:2] == (0.0, None) and [c.text for c in clip.captions] == [
        f"sentence {n:02d} about 1" for n in range(20)
    ]
    assert [(r.path, r.reason) for r in inputs.rejections] == [("video4", "bad_row")]  # it has no sentence
    assert list(_read(name, request, split="val", annotations=file)[1]) == ["TrainValVideo/video2.mp4"]
    assert len(_read(name, request, split="test")[1]["TestVideo/video3.mp4"][0].captions) == 20
    assert sorted(_read(name, request, split="train_9k")[1]) == ["TrainValVideo/video0.mp4", "TrainValVideo/video2.mp4"]
    for given in (tmp_path, tmp_path / "MSRVTT_JSFUSION_test.csv"):
        _, clips = _read(name, request, split="test_1k", annotations=given)
        assert clips == {"TestVideo/video3.mp4": (ClipSpec(captions=_said("a man, talking")),)}
    with pytest.raises(ValueError, match="a csv is --split=test_1k"):
        _read(name, request, split="test", annotations=tmp_path / "MSRVTT_JSFUSION_test.csv")


@pytest.mark.parametrize("split", ["train", "train_9k", "test"])
def test_a_video_of_msrvtt_without_an_id_is_told(tmp_path, split):
    name, request, (file,) = annotations.msrvtt(tmp_path)
    file.write_text(file.read_text().replace('"video_id": "video1"', '"video_id": ["video1"]', 1))
    with pytest.raises(ValueError, match="MSRVTT_data.json: a video without video_id.*: .*'video1'"):
        _read(name, request, split=split)


def test_msrvtt_in_the_two_files_of_the_challenge(tmp_path):
    """train_val_videodatainfo.json and test_videodatainfo.json: the 9k list takes videos of both."""
    name, request, (file,) = annotations.msrvtt(tmp_path)
    content = json.loads(file.read_text())
    file.unlink()
    for place, numbers in (("train_val_annotation/train_val", (0, 1, 2)), ("test", (3, 4))):
        part = {
            key: [x for x in content[key] if x["video_id"][5:] in map(str, numbers)] for key in content if key != "info"
        }
        write(tmp_path / f"{place}_videodatainfo.json", json.dumps(part))
    listed = write(tmp_path / "MSRVTT_train.9k.csv", "video_id\nvideo0\nvideo3\nvideo4\n")
    inputs, clips = _read(name, request, split="train_9k")
    assert {path: len(clip.captions) for path, (clip,) in clips.items()} == {
        "TrainValVideo/video0.mp4": 20,
        "TestVideo/video3.mp4": 20,
    }
    assert [(r.path, r.reason, r.detail.endswith("no sentence")) for r in inputs.rejections] == [
        ("video4", "bad_row", True)
    ]
    (tmp_path / "test_videodatainfo.json").unlink()
    with pytest.raises(ValueError, match="no MSRVTT_data.json or test_videodatainfo.json"):
        _read(name, request, split="train_9k")
    write(listed, "video_id\nvideo2\n")
    assert list(_read(name, request, split="train_9k")[1]) == ["TrainValVideo/video2.mp4"]


@pytest.mark.parametrize("maker", [annotations.ucf101, annotations.hmdb51])
def test_a_file_in_the_folder_of_another_class_is_another_file(tmp_path, maker):
    name, request, _ = maker(tmp_path)
    before = sorted(source.path for source in catalog.read(name, request).sources)
    root, moved = pathlib.Path(request.root), pathlib.Path(before[0])
    others = {pathlib.Path(label) for label in catalog.read(name, request).labels} - {pathlib.Path(moved.parent.name)}
    other = root / min(others) / moved.name
    other.parent.mkdir(exist_ok=True)
    (root / moved).rename(other)
    for keep_folder in (True, False):  # of the class that lacks its file
        (root / moved.parent).mkdir(exist_ok=True)
        if keep_folder:
            (root / moved.parent / f"another{moved.suffix}").touch()
        else:
            shutil.rmtree(root / moved.parent)
        inputs = catalog.read(name, request)
        assert sorted(source.path for source in inputs.sources) == before[1:]
        assert moved.stem in _missing(inputs)
    other.rename(root / moved.name)  # files that do not lie in folders of classes at all
    assert moved.name in [source.path for source in catalog.read(name, request).sources]


def test_voc2007(tmp_path):
    name, request, (described, listed) = annotations.voc2007(tmp_path)
    inputs = catalog.read(name, request)
    (first, second) = inputs.sources
    assert (first.path, first.kind) == ("VOCdevkit/VOC2007/JPEGImages/000005.jpg", "image")
    assert first.clips == _whole("bottle", "chair", "difficult:person")  # a chair is difficult, and another is not
    assert second.clips == _whole("car")
    assert _missing(inputs) == ["000009"]
    assert len(inputs.labels) == 40 and inputs.labels[0] == "aeroplane" and inputs.labels[19] == "tvmonitor"
    assert inputs.labels[20] == "difficult:aeroplane"
    assert len(list(catalog.read(name, request._replace(annotations=listed)).sources)) == 2
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><annotation>&b;</annotation>'
    for text, message in [
        (bomb, "DOCTYPE"),
        ("<annotation><object><name>cow boy</name></object></annotation>", "none of"),
    ]:
        write(described, text)
        with pytest.raises(ValueError, match=f"000005.xml: .*{message}"):
            catalog.read(name, request)
    write(described, "<annotation><object>")
    inputs, clips = _read(name, request)
    assert [r.reason for r in inputs.rejections] == ["bad_row", "missing_file"] and len(clips) == 1


def test_howto100m(tmp_path):
    name, request, (file,) = annotations.howto100m(tmp_path)
    inputs, clips = _read(name, request)
    hello, pour = Caption("hello there", 0.5, 2.5), Caption("pour the batter", 8.0, 10.0)
    flip, so = Caption("and flip it over", 20.0, 31.0), Caption("so", 100.0, 104.0)
    assert clips["a/-zEVJRZ8zQY.mp4"] == (
        # 5 s around the middle at 1.5 would begin at -1. The gap to "flip" is 15 s: too far.
        ClipSpec(0.0, 5.0, (hello, pour)),
        ClipSpec(6.5, 11.5, (hello, pour, flip)),
        ClipSpec(20.0, 31.0, (pour, flip)),  # the gap to "pour" is 10 s
        ClipSpec(99.5, 104.5, (so,)),
    )
    one, two = Caption("one", 3.0, 9.0), Caption("two", 3.0, 9.0)
    assert clips["Kdn6aYdWzaM.webm"] == (ClipSpec(3.0, 9.0, (one, two)),) and inputs.remarks.numbers["row_joined"] == 1
    assert [(r.path, r.reason) for r in inputs.rejections] == [
        ("gone0000000", "missing_file"),
        ("nowords0000", "bad_row"),
    ]
    assert inputs.remarks.numbers["caption_dropped"] == 3  # one backwards, two without words
    longer = _read(name, request, annotations=file, min_clip_seconds=8.0)[1]["a/-zEVJRZ8zQY.mp4"]
    assert longer[1][:2] == (5.0, 13.0)
    few = request.settings.__class__(max_captions=1)
    assert _read(name, request, settings=few)[1]["a/-zEVJRZ8zQY.mp4"][1].captions == (pour,)


def test_howto100m_takes_the_videos_of_a_list(tmp_path):
    name, request, (file,) = annotations.howto100m(tmp_path)
    official = "video_id,category_1,category_2,rank,task_id\n-zEVJRZ8zQY,Food,Recipes,1,2\nother000000,Food,x,1,2\n"
    listed = write(tmp_path / "HowTo100M_v1.csv", official)
    others = [write(tmp_path / "ids.csv", "video_path\n-zEVJRZ8zQY.mp4\nother000000.webm\n")]
    others += [write(tmp_path / "ids.txt", "-zEVJRZ8zQY\nother000000\n"), listed]
    for changes in [{"annotations": tmp_path}, *({"annotations": file, "ids": path} for path in others)]:
        inputs, clips = _read(name, request, **changes)
        assert list(clips) == ["a/-zEVJRZ8zQY.mp4"]
        assert [(r.path, r.reason) for r in inputs.rejections] == [("other000000", "bad_row")]
    with pytest.raises(ValueError, match="HowTo100M_v1.csv: no narrations; expected raw_caption.json"):
        _read(name, request, annotations=listed)


def test_howto100m_with_a_file_a_video(tmp_path):
    name, request, (file,) = annotations.howto100m(tmp_path)
    expected = _read(name, request)
    folder = tmp_path / "captions"
    for number, (video, columns) in enumerate(json.loads(file.read_text()).items()):
        if number % 2:
            write(folder / f"{video}.json", json.dumps(columns))
        else:
            rows = zip(*(columns[n] for n in ("start", "end", "text")), strict=True)
            text = "".join(f'{start},{end},"{text or ""}"\n' for start, end, text in rows)
            write(folder / f"sub/{video}.csv", "start,end,text\n" + text)
    inputs, clips = _read(name, request, annotations=folder)
    assert clips == expected[1]
    assert sorted(r[:3] for r in inputs.rejections) == sorted(r[:3] for r in expected[0].rejections)


def test_howto100m_is_read_video_by_video(tmp_path):
    name, request, (file,) = annotations.howto100m(tmp_path)
    write(file, file.read_text()[:-1] + ', "damaged": {"start": [1')
    sources = iter(catalog.read(name, request).sources)
    assert next(sources).path == "a/-zEVJRZ8zQY.mp4"
    with pytest.raises(ValueError, match="raw_caption.json: not valid JSON after the key 'damaged'"):
        list(sources)


def test_a_long_video_takes_no_square_of_its_length(tmp_path):
    name, request, (file,) = annotations.howto100m(tmp_path)
    starts = [float(n) for n in range(5_000)]
    # One narration over all of it would be near to all of them.
    video = {"start": [0.0, *starts], "end": [5_000.0, *(n + 2 for n in starts)], "text": ["all"] + ["x"] * 5_000}
    write(file, json.dumps({"-zEVJRZ8zQY": video}))
    _, clips = _read(name, request)
    assert len(clips["a/-zEVJRZ8zQY.mp4"]) == 5_000


@pytest.mark.parametrize("maker", annotations.ALL, ids=lambda maker: maker.__name__)
def test_a_wrong_file_is_one_line_that_says_what_was_expected(tmp_path, maker):
    name, request, files = maker(tmp_path / "a")
    wrong = write(tmp_path / "wrong.csv", "name,age\nx,7\n")
    (tmp_path / "empty").mkdir()
    for given in (wrong, tmp_path / "nowhere", tmp_path / "empty"):
        with pytest.raises(ValueError, match="https?://|give (its|the) folder") as caught:
            _read(name, request, annotations=given)
        assert "\n" not in str(caught.value) and str(given) in str(caught.value)
    for root, message in [("nowhere", "not a folder"), ("empty", "no such file in it")]:
        with pytest.raises(ValueError, match=f"--videos .*{root}: {message}"):
            _read(name, request, root=str(tmp_path / root))


@pytest.mark.parametrize("maker", annotations.ALL, ids=lambda maker: maker.__name__)
def test_the_order_of_the_lines_changes_nothing(tmp_path, maker):
    name, request, files = maker(tmp_path)
    before = sorted(catalog.read(name, request).sources)
    for path in files:
        if path.suffix in (".csv", ".txt"):
            lines = path.read_text("utf-8-sig").splitlines(keepends=True)
            head = [line for n, line in enumerate(lines) if line.startswith("#") or n == 0 and path.suffix == ".csv"]
            path.write_text("".join([*head, *reversed(lines[len(head) :])]))
        elif path.suffix == ".json":
            path.write_text(json.dumps(_reversed(json.loads(path.read_text()))))
    assert sorted(catalog.read(name, request).sources) == before


def _reversed(content):
    """With the keys of all objects the other way round, and MSR-VTT's lists, which are without order."""
    if isinstance(content, dict):
        turned = {key: _reversed(value) for key, value in reversed(content.items())}
        return turned | {key: turned[key][::-1] for key in ("videos", "sentences") if key in turned}
    return content


def test_of_several_files_with_one_name_videos_come_first(tmp_path):
    name, request, _ = annotations.youcook2(tmp_path)
    for suffix, expected in [("wav", "wav"), ("avi", "avi"), ("webm", "webm"), ("flac", "webm"), ("mp4", "mp4")]:
        touch(tmp_path / "videos", f"gone0000000.{suffix}")
        inputs, clips = _read(name, request)
        assert f"gone0000000.{expected}" in clips and _missing(inputs) == []


@pytest.mark.parametrize("maker", annotations.ALL, ids=lambda maker: maker.__name__)
def test_nothing_but_files_of_the_folder_is_a_source(tmp_path, maker):
    """Names in annotation files are looked up among the files of the folder, never opened."""
    from helpers.traversals import traversals

    name, request, files = maker(tmp_path / "data")
    touch(tmp_path, "outside.mp4", "x.mp4")
    root, _ = os.path.realpath(request.root), catalog.read(name, request)  # which imports what it needs
    known = {"ucf101": "v_YoYo_g08_c01.avi", "hmdb51": "a_smile_h_cm_np1_fr_goo_0.avi", "audioset": "-0RWZT-miFs"}
    known |= {"kinetics600": "0QHKb1vWeqE", "esc50": "1-100032-A-0.wav", "youcook2": "-3ABQ8yXGBs", "msrvtt": "video0"}
    known |= {"voc2007": "000007", "howto100m": "Kdn6aYdWzaM"}
    file = next(path for path in files if known[name] in path.read_text())
    text = file.read_text()
    with watch.opened() as opened:
        for path in traversals():
            file.write_text(text.replace(known[name], path))
            try:
                sources = list(catalog.read(name, request).sources)
            except ValueError as error:
                assert "\n" not in str(error)
                continue
            for source in sources:
                assert os.path.realpath(os.path.join(root, source.path)).startswith(root + os.sep)
    assert len(opened) > 200 and {path for path in opened if not path.startswith(str(tmp_path / "data"))} == set()
