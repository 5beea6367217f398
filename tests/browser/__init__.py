"""Pages in Chromium, as a person has them before them. They carry the marker ``browser``.

A test asks for the fixture ``open_browser``, and with it opens a window of a width, a colour
scheme and a user::

    def test_the_page_of_a_file(open_browser, row, admin):
        window = open_browser(user=admin, width=320, scheme="dark")
        window.go(f"/admin/devilry_deliveries/filemeta/{row.pk}/change/")
        window.screenshot("file")
        window.assert_sound()

``window.page`` is Playwright's page. A test that asks for ``look`` runs in every width and scheme
that pages are looked at in. Screenshots go to the folder ``DEVILRY_STORAGE_SCREENSHOTS``, where
that is set.
"""
