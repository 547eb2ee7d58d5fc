import pytest

from mmv_tf.beam.captions.speech import clean, one_line
from mmv_tf.beam.remarks import Remarks


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("&gt;&gt; salt &amp; pepper,&nbsp;please", ">> salt & pepper, please"),
        ("she&#39;s mixing 1 &lt; 2 cups", "she's mixing 1 < 2 cups"),
        ("it&amp;#39;s", "it's"),
        ("R&D, AT&T, fish & chips; &copy", "R&D, AT&T, fish & chips; &copy"),
        ("a&#0;b&#xD800;c", "a b c"),
        ("if a < b and c > d then stir", "if a < b and c > d then stir"),
        ("a<b and c>d", "a<b and c>d"),
        ("<laughs> I <3 it", "<laughs> I <3 it"),
        ("&lt;b&gt; is a tag", "<b> is a tag"),
        ("{\\i1}pour\\Nthe milk{\\i0}", "pour the milk"),
        ("{i}pour{/i} {now}", "pour {now}"),
        ("<i>he</i>llo <c.yellow.bg_blue>there</c><00:00:01.000> you<br/>two", "hello there you two"),
        ("<v Fred Smith>hi</v> <lang en-GB>mate</lang>", "hi mate"),
        ('<font color="#ff0000" size=3>red</font> <span class="x">hot</span>', "red hot"),
        ("<ruby>milk<rt>mi</rt></ruby> <RUBY>egg<RT>e</RUBY>", "milk egg"),
        ("cafe\u0301 vi\u00ea\u0323t \uff21", "caf\u00e9 vi\u1ec7t \uff21"),
        ("soft\u00adhyphen, \u200emark, wide\u200bspace", "softhyphen, mark, wide space"),
    ],
)
def test_what_is_said(text, expected):
    assert clean(text, Remarks()) == expected


def test_a_label_is_left_as_it_is():
    assert one_line(" <b>&amp;\n{\\x}\t ", Remarks()) == "<b>&amp; {\\x}"
