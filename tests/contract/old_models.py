"""Models that older releases of MLflow and scikit-learn saved under Python 3.11, byte for byte."""

from __future__ import annotations

import base64
from pathlib import Path

TREE = (
    # DecisionTreeClassifier(max_depth=1) of scikit-learn 1.2.2 on the irises
    "gASVDgUAAAAAAACMFXNrbGVhcm4udHJlZS5fY2xhc3Nlc5SMFkRlY2lzaW9uVHJlZUNsYXNzaWZpZXKUk5QpgZR9lCiMCWNyaXRl"
    "cmlvbpSMBGdpbmmUjAhzcGxpdHRlcpSMBGJlc3SUjAltYXhfZGVwdGiUSwGMEW1pbl9zYW1wbGVzX3NwbGl0lEsCjBBtaW5fc2Ft"
    "cGxlc19sZWFmlEsBjBhtaW5fd2VpZ2h0X2ZyYWN0aW9uX2xlYWaURwAAAAAAAAAAjAxtYXhfZmVhdHVyZXOUTowObWF4X2xlYWZf"
    "bm9kZXOUTowMcmFuZG9tX3N0YXRllE6MFW1pbl9pbXB1cml0eV9kZWNyZWFzZZRHAAAAAAAAAACMDGNsYXNzX3dlaWdodJROjAlj"
    "Y3BfYWxwaGGURwAAAAAAAAAAjA5uX2ZlYXR1cmVzX2luX5RLBIwKbl9vdXRwdXRzX5RLAYwIY2xhc3Nlc1+UjBVudW1weS5jb3Jl"
    "Lm11bHRpYXJyYXmUjAxfcmVjb25zdHJ1Y3SUk5SMBW51bXB5lIwHbmRhcnJheZSTlEsAhZRDAWKUh5RSlChLAUsDhZRoGYwFZHR5"
    "cGWUk5SMAmk4lImIh5RSlChLA4wBPJROTk5K/////0r/////SwB0lGKJQxgAAAAAAAAAAAEAAAAAAAAAAgAAAAAAAACUdJRijApu"
    "X2NsYXNzZXNflGgWjAZzY2FsYXKUk5RoJUMIAwAAAAAAAACUhpRSlIwNbWF4X2ZlYXR1cmVzX5RLBIwFdHJlZV+UjBJza2xlYXJu"
    "LnRyZWUuX3RyZWWUjARUcmVllJOUSwRoGGgbSwCFlGgdh5RSlChLAUsBhZRoJYlDCAMAAAAAAAAAlHSUYksBh5RSlH2UKGgJSwGM"
    "Cm5vZGVfY291bnSUSwOMBW5vZGVzlGgYaBtLAIWUaB2HlFKUKEsBSwOFlGgijANWNTaUiYiHlFKUKEsDjAF8lE4ojApsZWZ0X2No"
    "aWxklIwLcmlnaHRfY2hpbGSUjAdmZWF0dXJllIwJdGhyZXNob2xklIwIaW1wdXJpdHmUjA5uX25vZGVfc2FtcGxlc5SMF3dlaWdo"
    "dGVkX25fbm9kZV9zYW1wbGVzlHSUfZQoaEhoIowCaTiUiYiHlFKUKEsDaCZOTk5K/////0r/////SwB0lGJLAIaUaEloU0sIhpRo"
    "SmhTSxCGlGhLaCKMAmY4lImIh5RSlChLA2gmTk5OSv////9K/////0sAdJRiSxiGlGhMaFpLIIaUaE1oU0sohpRoTmhaSzCGlHVL"
    "OEsBSxB0lGKJQ6gBAAAAAAAAAAIAAAAAAAAAAgAAAAAAAAAAAACYmZkDQFZVVVVVVeU/lgAAAAAAAAAAAAAAAMBiQP//////////"
    "///////////+/////////wAAAAAAAADAAAAAAAAAAAAyAAAAAAAAAAAAAAAAAElA//////////////////////7/////////AAAA"
    "AAAAAMAAAAAAAADgP2QAAAAAAAAAAAAAAAAAWUCUdJRijAZ2YWx1ZXOUaBhoG0sAhZRoHYeUUpQoSwFLA0sBSwOHlGhaiUNIAAAA"
    "AAAASUAAAAAAAABJQAAAAAAAAElAAAAAAAAASUAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABJQAAAAAAAAElAlHSUYnVi"
    "jBBfc2tsZWFybl92ZXJzaW9ulIwFMS4yLjKUdWIu"
)
IMPUTER = (
    # make_pipeline(SimpleImputer(), LogisticRegression()) of scikit-learn 1.3.2 on the irises
    "gASVrAQAAAAAAACMEHNrbGVhcm4ucGlwZWxpbmWUjAhQaXBlbGluZZSTlCmBlH2UKIwFc3RlcHOUXZQojA1zaW1wbGVpbXB1dGVy"
    "lIwUc2tsZWFybi5pbXB1dGUuX2Jhc2WUjA1TaW1wbGVJbXB1dGVylJOUKYGUfZQojA5taXNzaW5nX3ZhbHVlc5RHf/gAAAAAAACM"
    "DWFkZF9pbmRpY2F0b3KUiYwTa2VlcF9lbXB0eV9mZWF0dXJlc5SJjAhzdHJhdGVneZSMBG1lYW6UjApmaWxsX3ZhbHVllE6MBGNv"
    "cHmUiIwObl9mZWF0dXJlc19pbl+USwSMCl9maXRfZHR5cGWUjAVudW1weZSMBWR0eXBllJOUjAJmOJSJiIeUUpQoSwOMATyUTk5O"
    "Sv////9K/////0sAdJRijAppbmRpY2F0b3JflE6MC3N0YXRpc3RpY3NflIwVbnVtcHkuY29yZS5tdWx0aWFycmF5lIwMX3JlY29u"
    "c3RydWN0lJOUaBaMB25kYXJyYXmUk5RLAIWUQwFilIeUUpQoSwFLBIWUaBuJQyBhLPnFkl8XQEQZvS1rdQhAsPHSTWIQDkCatTom"
    "eDDzP5R0lGKMEF9za2xlYXJuX3ZlcnNpb26UjAUxLjMuMpR1YoaUjBJsb2dpc3RpY3JlZ3Jlc3Npb26UjB5za2xlYXJuLmxpbmVh"
    "cl9tb2RlbC5fbG9naXN0aWOUjBJMb2dpc3RpY1JlZ3Jlc3Npb26Uk5QpgZR9lCiMB3BlbmFsdHmUjAJsMpSMBGR1YWyUiYwDdG9s"
    "lEc/Gjbi6xxDLYwBQ5RHP/AAAAAAAACMDWZpdF9pbnRlcmNlcHSUiIwRaW50ZXJjZXB0X3NjYWxpbmeUSwGMDGNsYXNzX3dlaWdo"
    "dJROjAxyYW5kb21fc3RhdGWUTowGc29sdmVylIwFbGJmZ3OUjAhtYXhfaXRlcpRN9AGMC211bHRpX2NsYXNzlIwEYXV0b5SMB3Zl"
    "cmJvc2WUSwCMCndhcm1fc3RhcnSUiYwGbl9qb2JzlE6MCGwxX3JhdGlvlE5oFEsEjAhjbGFzc2VzX5RoImgkSwCFlGgmh5RSlChL"
    "AUsDhZRoGIwCaTiUiYiHlFKUKEsDaBxOTk5K/////0r/////SwB0lGKJQxgAAAAAAAAAAAEAAAAAAAAAAgAAAAAAAACUdJRijAdu"
    "X2l0ZXJflGgiaCRLAIWUaCaHlFKUKEsBSwGFlGgYjAJpNJSJiIeUUpQoSwNoHE5OTkr/////Sv////9LAHSUYolDBHEAAACUdJRi"
    "jAVjb2VmX5RoImgkSwCFlGgmh5RSlChLAUsDSwSGlGgbiUNg6Zi2CfsV27+JRKN4B/HuP4Bl3KxEIgTApYqyGNlK8b8hT1g6Rhnh"
    "P0FZgiPvlNS//N5yE4tyyr8prynkXTLuv6Ab6KtFcry/3Rfi5o+m5L9UkxNebckFQBWxYwUEMgBAlHSUYowKaW50ZXJjZXB0X5Ro"
    "ImgkSwCFlGgmh5RSlChLAUsDhZRoG4lDGMAea6fUsiNA1LPR/IfnAUAPi5+mtiwowJR0lGJoLGgtdWKGlGWMBm1lbW9yeZROaEOJ"
    "aCxoLXViLg=="
)
MLMODEL = """\
flavors:
  python_function:
    env: conda.yaml
    loader_module: mlflow.sklearn
    model_path: model.pkl
    predict_fn: predict
    python_version: 3.11.7
  sklearn:
    code: null
    pickled_model: model.pkl
    serialization_format: cloudpickle
    sklearn_version: {sklearn}
mlflow_version: {mlflow}
saved_input_example_info:
  artifact_path: input_example.json
  format: tf-serving
  type: ndarray
"""
EXAMPLE = '{"inputs": [[5.1, 3.5, 1.4, 0.2], [4.9, 3.0, 1.4, 0.2]]}'


def save_old(directory: Path, pickled: str, sklearn: str, mlflow: str) -> Path:
    """Puts such a model into the directory."""
    directory.mkdir()
    (directory / "model.pkl").write_bytes(base64.b64decode(pickled))
    (directory / "MLmodel").write_text(MLMODEL.format(sklearn=sklearn, mlflow=mlflow))
    (directory / "requirements.txt").write_text(f"mlflow=={mlflow}\nscikit-learn=={sklearn}\n")
    (directory / "input_example.json").write_text(EXAMPLE)
    return directory
