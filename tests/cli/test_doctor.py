from __future__ import annotations

import json


def test_doctor(moue, tiny_bundle):
    ran = moue("doctor", "--bundle", tiny_bundle)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.endswith("moue animate works\n")
    ran = moue("doctor", "--bundle", tiny_bundle, "--json")
    report = json.loads(ran.out)
    assert report["ready"] is True
    works = {check["name"]: check["works"] for check in report["checks"]}
    assert all(works[name] for name in ("bundle", "model", "face finder", "video"))
    assert works["tensorrt"] is False


def test_doctor_says_what_is_asked_for_and_missing(moue, tiny_bundle):
    ran = moue("doctor", "--bundle", tiny_bundle, "--device", "cuda")
    assert ran.code == 1
    assert ran.out.endswith("moue animate cannot work before this is mended: model\n")
