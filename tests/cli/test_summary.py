from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.backbones.registry import build_backbone
from keras_sllmr.cli import summary
from keras_sllmr.serving.export import export_model
from keras_sllmr.serving.recommend import recommend


def test_recommendations_know_the_users_columns(
    column_store, tmp_path, capsys, monkeypatch
):
    spec = FeatureSpec.of(column_store, columns=["hobbies", "age", "price", "hour"])
    model = build_backbone("deepfm", spec, embedding_dim=2)
    path = export_model(model, spec, column_store, tmp_path, name="m")
    given = []

    def recorded(*args, **options):
        given.append(options["columns"])
        return recommend(*args, **options)

    monkeypatch.setattr(summary, "recommend", recorded)
    summary.show_recommendations(column_store, path, user=3)
    assert given == [{"hobbies": ["chess", "go", "tea"], "age": 23.0}]
    assert "Top 10 of user u03" in capsys.readouterr().out
