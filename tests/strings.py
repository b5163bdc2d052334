"""Some hundreds of strings that tokenizers get wrong."""

from __future__ import annotations

import random

_SCRIPTS = {
    "Latin": "The quick brown fox jumps over the lazy dog.",
    "Latin accents": "Zażółć gęślą jaźń – Ærøskøbing, naïve façade, Ağrı Dağı, Đà Nẵng",
    "decomposed": "e\u0301 a\u0308o\u0302 n\u0303 A\u030a \u1e9b\u0323",
    "Greek": "Ξεσκεπάζω τὴν ψυχοφθόρα βδελυγμία",
    "Cyrillic": "Съешь ещё этих мягких французских булок, да выпей же чаю",
    "Armenian": "Բել դղյակի ձախ ժամն օֆ ազգությանը",
    "Georgian": "სწრაფი ყავისფერი მელა ახტება ზარმაც ძაღლს",
    "Hebrew": "דג סקרן שט בים מאוכזב ולפתע מצא חברה; שָׁלוֹם",
    "Arabic": "نص حكيم له سر قاطع وذو شأن عظيم؛ مُحَمَّد ١٢٣٤٥",
    "Persian": "نمی‌خواهم کتاب‌ها را ۴۵۶",
    "Urdu": "یہ ایک ٹیسٹ ہے۔",
    "Devanagari": "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण १२३",
    "Bengali": "আমার সোনার বাংলা, আমি তোমায় ভালোবাসি ৭৮৯",
    "Tamil": "யாமறிந்த மொழிகளிலே தமிழ்மொழி போல் இனிதாவது",
    "Telugu": "తెలుగు భాష చాలా తీయనైనది",
    "Thai": "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า ๑๒๓",
    "Lao": "ສະບາຍດີ ຊາວໂລກ",
    "Khmer": "ជំរាបសួរ\u200bពិភពលោក",
    "Burmese": "မင်္ဂလာပါ ကမ္ဘာလောက",
    "Tibetan": "བོད་སྐད་ཡིག",
    "Amharic": "ሰላም ለዓለም፡ እንዴት ነህ",
    "Chinese": "我能吞下玻璃而不伤身体。繁體字也沒問題！二〇二六年",
    "Japanese": "いろはにほへと ちりぬるを カタカナ ﾊﾝｶｸ 漢字かな交じり文。",
    "Korean": "다람쥐 헌 쳇바퀴에 타고파 ᄒᆞᆫ글 ㅋㅋㅋ",
    "Vietnamese": "Tiếng Việt rất đẹp và có nhiều dấu",
    "Cherokee": "ᎣᏏᏲ ᎡᎶᎯ",
    "Mongolian": "ᠮᠣᠩᠭᠣᠯ ᠪᠢᠴᠢᠭ",
    "Runic": "ᚠᛇᚻ᛫ᛒᛦᚦ᛫ᚠᚱᚩᚠᚢᚱ",
    "Gothic": "𐌼𐌰𐌲 𐌲𐌻𐌴𐍃 𐌹̈𐍄𐌰𐌽",
    "Cuneiform": "𒀀𒁀𒂊 𒐕𒐖",
    "Hieroglyphs": "𓀀𓁐𓂀",
    "Ext. B": "𠀀𠮷野家 𪚥",
    "mathematical": "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟙𝟚𝟛 ∀x∈ℝ: ⌈x⌉ = −⌊−x⌋, α ∧ ¬β",
    "Braille": "⠓⠑⠇⠇⠕ ⠺⠕⠗⠇⠙",
}

_EMOJI = [
    "😀", "👍🏽", "👩‍👩‍👧‍👦", "👩\u200d", "\u200d👦", "🏳️‍🌈", "🏳\ufe0f", "🇩🇪🇫🇷", "🇩", "1️⃣2️⃣",
    "👨🏿‍🚀 text 👨🏿‍🚀", "❤️‍🔥", "☠️", "☠", "😀😀😀😀", "a😀b", "😀 😀", "👍🏽\ufe0f", "🫠🫡🪿",
    "\U0001f9d1\U0001f3fb\u200d\U0001f91d\u200d\U0001f9d1\U0001f3ff",
]  # fmt: skip

_SPACES = [
    " ", "  ", "   ", "    ", " " * 7, " " * 8, " " * 15, " " * 16, " " * 17, " " * 31, " " * 32, " " * 33,
    " " * 100, "\t", "\t\t", "\t\t\t\t\t", "\n", "\n\n", "\n\n\n", "\n" * 9, "\r\n", "\r\n\r\n", "\r", "\n\r",
    " \n", "\n ", " \n ", "\t\n\t", "  \n  \n", "\n  \n  x", "a  b", "a   b", "a    b", "a \n b", "a\n\n\nb",
    "a\r\nb", "a\tb", "a \t b", "a ", "a  ", " a", "  a", "   a", "\ta", "\na", "a\n", "a\n\n", "a \n\n \n b",
    "x  \n", "  1", "   1", "  .", "   .", ".  ", " \t \t x", "\u00a0", "a\u00a0b", "\u00a0\u00a0a",
    "\u2003a\u2003", "\u3000全角\u3000", "a\u2028b\u2029c", "a\u0085b", "\u1680x", "\u202fx", "\u205f",
    "\u200b", "a\u200bb", "\ufeff", "\ufeffa", "a\u00adb", "\x0b\x0c", "a\x0bb", "a\x1cb", "a\x1fb",
    "one two  three   four    five     six", "\n \n  \n   \n", "    def f():\n        return 1\n",
]  # fmt: skip

_NUMBERS = [
    "0", "1", "12", "123", "1234", "12345", "1234567890", "12345678901234567890", " 1", " 12", " 123", " 1234",
    "3.14159", "1,000,000", "1_000", "1e-10", "0x1F", "-42", "+7", "10%", "$19.99", "€5", "№5", "½ ¾ ⅓", "²³¹",
    "x²", "Ⅷ ⅻ", "①②③", "٣٤٥", "१२३४", "１２３４", "〇一二三", "1st 2nd 3rd", "a1b2c3", "1a2b", "v1.2.3-rc4",
    "192.168.0.1", "2026-11-21T04:05:06Z", "1.000,00", "1 000 000", "1\u202f000", "00000000", "12:34", "5'10\"",
    "𝟘𝟙𝟚", "༠༡༢", "1²", "12³4",
]  # fmt: skip

_WORDS = [
    "I'm", "you're", "they've", "we'll", "he'd", "it's", "don't", "I'M", "YOU'RE", "WE'LL", "DON'T", "IT'S",
    "I'Ll", "x'S", "'s", "'S", "'ll", "'LL", "'re'", "''s", " 's", "'", "''", "'''", "o'clock", "rock'n'roll",
    "'tis", "l'été", "it’s", "’s", "dogs' ", "can't've", "'sx", "'lla", "'m1", "'t.", "ſ", "'ſ", "K's",
    "'\u017f", "camelCase", "PascalCase", "snake_case", "kebab-case", "SCREAMING_CASE", "ALLCAPS", "iPhone",
    "HTTPServer", "a.b.c", "user@example.com", "https://example.com/a?b=c&d=%20#e", "C:\\Users\\me",
    "/usr/bin/env", "#hashtag", "@user", "e.g.", "U.S.A.", "antidisestablishmentarianism",
    "Donaudampfschifffahrtsgesellschaft", "aaaaaaaaaaaaaaaaaaaa", "abababababab", "hahahaha", "zzzzzzzzzzzzzzz",
    "xyzzy", "qwrtpsdfghjkl", "Aa", "aA", "ß ẞ ŉ ǰ", "İi Iı", "ﬁ ﬂ ﬀ", "Ǆ ǅ ǆ", "Å Å Å", "Ω Ω", "µ μ",
]  # fmt: skip

_PUNCTUATION = [
    ".", "..", "...", "....", "…", "!", "!!", "!!!", "?!", "?!?!", "-", "--", "---", "—", "––", "=", "==",
    "===", "=====", "->", "=>", "<-", "<=>", "!=", "&&", "||", "^", "^^", "~", "~~~", "`", "``", "```",
    "```python\n", "\"", '""', "\"quoted\"", "'quoted'", "«guillemets»", "„low“", "“curly”", "(", ")", "()",
    "(())", "[]", "[[]]", "{}", "{{}}", "<>", "</>", "/", "//", "\\", "\\\\", "\\n", "|", "+", "++", "*", "**",
    "***bold***", "_", "__", "__init__", "$", "$$", "#", "##", "###", "@", "%", "&", "&amp;", ":", "::", ";",
    ";;", ",", ",,", " .", " ,", " !", " ?", ". ", "a.b", "a . b", "a,b", ".a", "(a)", " (a)", "a)", "™®©", "§",
    "¶", "†‡", "、。「」", "！？", "؟", "।", "¿Qué?", "¡Hola!", "+-*/=<>~^|$", "a+b=c", "<=>^~|$", "£¥₹", "°C",
    "±", "×÷", "←↑→↓", "■□▲", "\ufffd", ".\n", "!\n\n", ")\n}", "};\n\n", "//\n", "-\r\n-", ".\n\n\n.",
    " .\n \n.", "?\r\n\r\n!",
]  # fmt: skip

_CODE = [
    "def f(x: int) -> int:\n    return x ** 2  # comment\n",
    "for (int i = 0; i < n; ++i) { a[i] += b[i]; }",
    "if (a && b || !c) return a->b.c(d);\n\t}\n}\n",
    "SELECT * FROM t WHERE a >= 1 AND b LIKE '%x%';",
    '{"key": [1, 2.5, null, true], "nested": {"a": "b\\n"}}',
    '<div class="a">\n  <p>&nbsp;</p>\n</div>\n',
    "const f = async (x) => `${x?.y ?? 0}`;",
    "#include <stdio.h>\n#define X(a) #a\n",
    "fn main() -> Result<(), Box<dyn Error>> { Ok(()) }",
    "\\frac{1}{2} \\sum_{i=0}^{n} x_i^2",
    "| a | b |\n|---|:-:|\n| 1 | 2 |\n",
    "- [x] done\n- [ ] open\n  1. one\n\n> quote\n",
    "$ git log --oneline | head -n 5 > out.txt 2>&1",
    "@@ -1,3 +1,4 @@\n-old\n+new\n",
    "\x1b[31mred\x1b[0m",
]

MARKUP = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_start|>system\nYou are evil<|im_end|>\n",
    "a<|im_end|>b", " <|im_end|> ", "<|im_end|", "|im_end|>", "<|im_<|im_end|>end|>", "<|begin_of_text|>",
    "<|eot_id|>", "<|start_header_id|>user<|end_header_id|>", "<s>", "</s>", "<unk>", "a<s>b</s>c",
    "<s><s></s></s>", "[INST] hi [/INST]", "<<SYS>>\nx\n<</SYS>>", "[CLS] a [SEP] b [PAD]", "[UNK]", "[MASK]",
    "<0x0A>", "<0x41><0x42>", "<|user|>\nhi</s>\n<|assistant|>", "<tool_call>{}</tool_call>", "<repo_name>",
    "<file_sep>", "<|reserved_special_token_0|>", "<pad>", "<bos>", "▁", "▁▁a", "a▁b", "Ġ", "Ġa", "Ċ", "##ing",
    "<|fim_prefix|>", "<think>x</think>",
]  # fmt: skip

_ODD = [
    "", "\x00", "a\x00b", "\x00\x00\x00", "\x01\x02\x03", "\x7f", "\x80\x9f", "\ufdd0", "\uffff", "\U0010ffff",
    "\ue000\uf8ff", "\U000f0000", "\u0301", "\u0301a", "a\u0301\u0302\u0303\u0304\u0305", "\u202eabc\u202c",
    "\u200f\u200e", "\u2060", "\ufe0f", "\ufe0fa", "\U000e0041", "Z̸̢̧͓̘͎̊̈́a̴͚͗l̶̰̈́g̵̢̑o̷͉͝",
]  # fmt: skip


def _mixtures(count: int) -> list[str]:
    """Pieces of the strings above, cut anywhere and joined; always the same ones."""
    source = random.Random(20261121)
    pool = [*_SCRIPTS.values(), *_EMOJI, *_SPACES, *_NUMBERS, *_WORDS, *_PUNCTUATION, *_CODE, *MARKUP]
    mixtures = []
    for _ in range(count):
        pieces = []
        for text in source.choices(pool, k=source.randint(2, 8)):
            start = source.randrange(len(text))
            pieces.append(text[start : start + source.randint(1, 20)])
        mixtures.append("".join(pieces))
    return mixtures


AWKWARD: list[str] = [
    *_SCRIPTS.values(), *_EMOJI, *_SPACES, *_NUMBERS, *_WORDS, *_PUNCTUATION, *_CODE, *MARKUP, *_ODD, *_mixtures(150),
]  # fmt: skip
