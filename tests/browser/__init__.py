"""Tests of pages in Chromium, with the marker ``browser``.

The fixture ``open_browser`` opens a window with a width, a colour scheme and a user::

    def test_page_of_a_file(open_browser, row, admin):
        window = open_browser(user=admin, width=320, scheme="dark")
        window.go(f"/admin/devilry_deliveries/filemeta/{row.pk}/change/")
        window.screenshot("file")
        window.assert_sound()

``window.page`` is Playwright's page. A test with the fixture ``look`` runs in all widths and
colour schemes. Screenshots are saved in the folder ``DEVILRY_STORAGE_SCREENSHOTS``, if it is set.
"""
