"""The annotation files of datasets in their original formats, in small, with the files that they name.

Each function writes a dataset below a folder and returns (name, Request of its first split, annotation files). The
media files are empty: nothing decodes them.
"""

import json

from mmv_tf.beam.datasets.entries import Request


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def write(path, text, bom=False, crlf=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = text.replace("\n", "\r\n") if crlf else text
    path.write_bytes(text.encode("utf-8-sig" if bom else "utf-8"))
    return path


def ucf101(folder):
    lists = folder / "ucfTrainTestlist"
    write(lists / "classInd.txt", "1 ApplyEyeMakeup\n2 ApplyLipstick\n3 YoYo\n", crlf=True)
    train = "YoYo/v_YoYo_g08_c01.avi 3\nApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\n"
    write(lists / "trainlist01.txt", train + "\nApplyEyeMakeup/v_ApplyEyeMakeup_g08_c02.avi 1\n", crlf=True)
    write(lists / "testlist01.txt", "YoYo/v_YoYo_g01_c01.avi\nApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi\n")
    write(lists / "trainlist02.txt", "YoYo/v_YoYo_g01_c01.avi 3\n")
    touch(folder / "UCF-101", "YoYo/v_YoYo_g08_c01.avi", "YoYo/v_YoYo_g01_c01.avi")
    touch(folder / "UCF-101", "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi")
    request = Request(str(folder / "UCF-101"), str(lists), "train")
    return "ucf101", request, [lists / "trainlist01.txt", lists / "classInd.txt"]


def hmdb51(folder):
    lists = folder / "testTrainMulti_7030_splits"
    smile = "a_smile_h_cm_np1_fr_goo_0.avi 1 \nb(1)_smile_#2_np1_goo_1.avi 2 \nc_smile_0.avi 0 \n"
    write(lists / "smile_test_split1.txt", smile)
    write(lists / "brush_hair_test_split1.txt", "April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1 \nx_brush_hair_1.avi 1 \n")
    write(lists / "smile_test_split2.txt", "c_smile_0.avi 1 \n")
    touch(folder / "videos", "smile/a_smile_h_cm_np1_fr_goo_0.avi", "smile/b(1)_smile_#2_np1_goo_1.avi")
    touch(folder / "videos", "smile/c_smile_0.avi", "brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi")
    files = [lists / "smile_test_split1.txt", lists / "brush_hair_test_split1.txt"]
    return "hmdb51", Request(str(folder / "videos"), str(lists), "train"), files


def audioset(folder):
    rows = (
        "# Segments csv created Sun Mar  5 10:54:25 2017\n"
        "# num_ytids=20371, num_segs=20371, num_unique_labels=527, num_positive_labels=51804\n"
        "# YTID, start_seconds, end_seconds, positive_labels\n"
        '-0RWZT-miFs, 420.000, 430.000, "/m/03v3yw,/m/0k4j"\n'
        '--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_"\n'
        '--PJHxphWEs, 30.000, 40.000, "/m/0k4j"\n'
        'gone0000000, 30.000, 40.000, "/m/0k4j"\n'
    )
    classes = (
        "index,mid,display_name\n"
        '0,/m/09x0r,"Speech"\n'
        '1,/m/05zppz,"Male speech, man speaking"\n'
        '2,/m/03v3yw,"Keys jangling"\n'
        "3,/m/0k4j,Car\n"
        '4,/m/068hy,"Domestic animals, pets"\n'
        "5,/m/07q6cd_,Squeak\n"
    )
    files = [
        write(folder / "balanced_train_segments.csv", rows),
        write(folder / "class_labels_indices.csv", classes, bom=True, crlf=True),
    ]
    touch(
        folder / "sounds", "-0RWZT-miFs_420.000_430.000.mkv", "deep/--4gqARaEJE_0_10000.wav", "--PJHxphWEs_30000.webm"
    )
    return "audioset", Request(str(folder / "sounds"), str(folder), "balanced_train"), files


def kinetics600(folder):
    train = (
        "label,youtube_id,time_start,time_end,split\n"
        "riding a bike,-3B32lodo2M,59,69,train\n"
        "\"photographing, (still) 'life'\",0QHKb1vWeqE,5,15,train\n"
        "abseiling,gone0000000,0,10,train\n"
    )
    header = "label,youtube_id,time_start,time_end,split\n"
    write(folder / "val.csv", header + "zumba,aaaaaaaaaaa,0,10,validate\n")
    touch(folder / "clips", "riding a bike/-3B32lodo2M_000059_000069.mp4", "0QHKb1vWeqE_000005_000015.mp4")
    touch(folder / "clips", "val/zumba/aaaaaaaaaaa_000000_000010.mp4")
    file = write(folder / "train.csv", train)
    return "kinetics600", Request(str(folder / "clips"), str(folder), "train"), [file]


def esc50(folder):
    rows = (
        "filename,fold,target,category,esc10,src_file,take\n"
        "1-100032-A-0.wav,1,0,dog,True,100032,A\n"
        "1-17092-A-27.wav,1,27,brushing_teeth,False,17092,A\n"
        "2-104105-A-1.wav,2,1,rooster,True,104105,A\n"
        "1-99999-A-0.wav,1,0,dog,True,99999,A\n"
    )
    touch(folder / "audio", "1-100032-A-0.wav", "1-17092-A-27.wav", "2-104105-A-1.wav")
    return "esc50", Request(str(folder / "audio"), str(folder), "fold1"), [write(folder / "meta/esc50.csv", rows)]


def youcook2(folder):
    steps = [
        {"segment": [47, 60], "id": 0, "sentence": "pick the ends off the verdalago"},
        {"segment": [67.5, 89], "id": 1, "sentence": "combine lemon juice, sumac & salt"},
    ]
    database = {
        "xHr8X2Wpmno": {"duration": 311.77, "subset": "training", "recipe_type": "113", "annotations": steps},
        "-3ABQ8yXGBs": {"duration": 99, "subset": "training", "recipe_type": "101", "annotations": steps[:1]},
        "V53XmPeyjIU": {"duration": 311.77, "subset": "validation", "recipe_type": "105", "annotations": steps},
        "gone0000000": {"duration": 311.77, "subset": "training", "recipe_type": "105", "annotations": steps},
    }
    touch(folder / "videos", "training/113/xHr8X2Wpmno.mkv", "validation/105/V53XmPeyjIU.mp4", "-3ABQ8yXGBs.webm")
    file = write(folder / "youcookii_annotations_trainval.json", json.dumps({"database": database}, indent=1))
    return "youcook2", Request(str(folder / "videos"), str(folder), "train"), [file]


def msrvtt(folder):
    videos = [
        {"category": 9, "url": "https://host/0", "video_id": f"video{n}", "start time": 137.72, "end time": 149.44}
        | {"split": split, "id": n}
        for n, split in enumerate(["train", "train", "validate", "test", "train"])
    ]
    sentences = [
        {"caption": f"sentence {(n + 7) % 20:02d} about {k}", "video_id": f"video{k}", "sen_id": 100 * k + n}
        for n in range(20)
        for k in range(4)
    ]
    content = {"info": {"year": "2016"}, "videos": videos, "sentences": sentences}
    write(folder / "MSRVTT_JSFUSION_test.csv", 'key,vid_key,video_id,sentence\nret0,msr3,video3,"a man, talking"\n')
    write(folder / "MSRVTT_train.9k.csv", "video_id\nvideo0\nvideo2\n")
    touch(folder / "videos", "TrainValVideo/video0.mp4", "TrainValVideo/video1.mp4", "TrainValVideo/video2.mp4")
    touch(folder / "videos", "TestVideo/video3.mp4")
    file = write(folder / "MSRVTT_data.json", json.dumps(content))
    return "msrvtt", Request(str(folder / "videos"), str(folder), "train"), [file]


def voc2007(folder):
    root = folder / "VOCdevkit/VOC2007"

    def described(name, *things):
        objects = "".join(
            f"<object><name>{label}</name><difficult>{difficult}</difficult><bndbox><xmin>1</xmin></bndbox></object>"
            for label, difficult in things
        )
        text = f"<annotation><filename>{name}.jpg</filename><size><width>5</width></size>{objects}</annotation>\n"
        return write(root / f"Annotations/{name}.xml", text)

    file = described("000005", ("chair", 0), ("chair", 1), ("person", 1), ("bottle", 0))
    described("000007", ("car", 0))
    described("000009", ("person", 1))
    listed = write(root / "ImageSets/Main/trainval.txt", "000005\n000007  1\n000009\n")
    write(root / "ImageSets/Main/chair_trainval.txt", "000005  1\n")
    touch(
        root, "JPEGImages/000005.jpg", "JPEGImages/000007.jpg", "ASegmentation/000005.png", "ASegmentation/000009.png"
    )
    return "voc2007", Request(str(folder), str(folder), "trainval"), [file, listed]


def howto100m(folder):
    captions = {
        "-zEVJRZ8zQY": {
            "start": [0.5, 8.0, 20.0, 100.0, 101.0],
            "end": [2.5, 10.0, 31.0, 104.0, 100.0],
            "text": ["hello  there", "pour the batter", "and flip it over", "so", "backwards"],
        },
        "gone0000000": {"start": [1], "end": [2], "text": ["x"]},
        "nowords0000": {"start": [1, 2], "end": [2, 3], "text": ["", None]},
        "Kdn6aYdWzaM": {"start": [3, 3], "end": [9, 9], "text": ["one", "two"]},
    }
    touch(folder / "videos", "a/-zEVJRZ8zQY.mp4", "Kdn6aYdWzaM.webm", "nowords0000.mp4")
    file = write(folder / "raw_caption.json", json.dumps(captions))
    return "howto100m", Request(str(folder / "videos"), str(folder), "train"), [file]


ALL = (ucf101, hmdb51, audioset, kinetics600, esc50, youcook2, msrvtt, voc2007, howto100m)
