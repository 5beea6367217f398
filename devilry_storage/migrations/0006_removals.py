from typing import Any

from django.db import migrations, models


def name_stores(apps: Any, schema_editor: Any) -> None:
    """Give the tombstones of stores without an alias the label of their model instead.

    Two models that share a store may have buried the same name, which is one object: the
    tombstone that is due last stays.
    """
    model = apps.get_model("devilry_storage", "Tombstone")
    tombstones = model.objects.using(schema_editor.connection.alias)
    tombstones.filter(alias="").update(alias=models.F("model"))
    later = tombstones.filter(name=models.OuterRef("name"), alias=models.OuterRef("alias"))
    later = later.filter(
        models.Q(due__gt=models.OuterRef("due"))
        | models.Q(due=models.OuterRef("due"), pk__gt=models.OuterRef("pk"))
    )
    # Not deleted by a subquery of the same table, which not every database allows.
    pks = list(tombstones.filter(models.Exists(later)).values_list("pk", flat=True))
    for start in range(0, len(pks), 500):
        tombstones.filter(pk__in=pks[start : start + 500]).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("devilry_storage", "0005_delivery_stores"),
    ]

    operations = [
        migrations.AddField(
            model_name="tombstone",
            name="claimed",
            field=models.DateTimeField(null=True, verbose_name="claimed"),
        ),
        migrations.AddField(
            model_name="tombstone",
            name="done",
            field=models.DateTimeField(null=True, verbose_name="done"),
        ),
        migrations.AlterField(
            model_name="tombstone",
            name="alias",
            field=models.CharField(
                blank=True,
                help_text="Alias of the store in STORAGES, or the model's label if it has none.",
                max_length=200,
                verbose_name="store",
            ),
        ),
        migrations.RemoveConstraint(
            model_name="tombstone",
            name="devilry_storage_tombstone_unique",
        ),
        migrations.RunPython(name_stores, migrations.RunPython.noop, elidable=True),
        migrations.AddConstraint(
            model_name="tombstone",
            constraint=models.UniqueConstraint(
                fields=("name", "alias"), name="devilry_storage_tombstone_name"
            ),
        ),
        migrations.AddIndex(
            model_name="tombstone",
            index=models.Index(
                condition=models.Q(("claimed", None)),
                fields=["alias", "due", "id"],
                name="devilry_storage_buried",
            ),
        ),
        migrations.AddIndex(
            model_name="tombstone",
            index=models.Index(
                condition=models.Q(("claimed__isnull", False), ("done", None)),
                fields=["alias", "id"],
                name="devilry_storage_removals",
            ),
        ),
        migrations.AddIndex(
            model_name="tombstone",
            index=models.Index(fields=["done"], name="devilry_storage_done"),
        ),
    ]
