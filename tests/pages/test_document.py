from mmv_tf.pages import document


def test_every_text_is_escaped_and_rows_carry_their_class():
    table = document.table([["<a>", "b"], ["x & y", "1"], ["chance", "2"]], ["ours", "baseline"])
    assert "<th>&lt;a&gt;</th><th>b</th>" in table
    assert '<tr class="ours"><td>x &amp; y</td><td>1</td></tr>' in table
    assert '<tr class="baseline"><td>chance</td><td>2</td></tr>' in table
    page = document.document("T <script>", table)
    assert "<h1>T &lt;script&gt;</h1>" in page and table in page and "<script>" not in page
