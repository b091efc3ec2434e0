//! Types that have no codec.

use timely_persist_derive::Codec;

#[derive(Codec)]
#[codec(name = "list")]
struct List<'a, T, const N: usize>(#[codec(id = 1)] &'a [T; N]);

#[derive(Codec)]
#[codec(name = "union")]
union Union {
    a: u8,
}

#[derive(Codec)]
#[codec(name = "nothing")]
struct Nothing;

#[derive(Codec)]
#[codec(name = "never")]
enum Never {}

#[derive(Codec)]
#[codec(name = "disorder")]
enum Disorder {
    #[codec(id = 1)]
    Two = 2,
    #[codec(id = 2)]
    One = 1,
}

#[derive(Codec)]
#[codec(name = "computed")]
enum Computed {
    #[codec(id = 1)]
    Two = 1 + 1,
}

// 257 variants.
#[derive(Codec)]
#[codec(name = "many")]
#[rustfmt::skip]
enum Many {
    #[codec(id = 1)] V0, #[codec(id = 2)] V1, #[codec(id = 3)] V2, #[codec(id = 4)] V3, #[codec(id = 5)] V4, #[codec(id = 6)] V5, #[codec(id = 7)] V6, #[codec(id = 8)] V7,
    #[codec(id = 9)] V8, #[codec(id = 10)] V9, #[codec(id = 11)] V10, #[codec(id = 12)] V11, #[codec(id = 13)] V12, #[codec(id = 14)] V13, #[codec(id = 15)] V14, #[codec(id = 16)] V15,
    #[codec(id = 17)] V16, #[codec(id = 18)] V17, #[codec(id = 19)] V18, #[codec(id = 20)] V19, #[codec(id = 21)] V20, #[codec(id = 22)] V21, #[codec(id = 23)] V22, #[codec(id = 24)] V23,
    #[codec(id = 25)] V24, #[codec(id = 26)] V25, #[codec(id = 27)] V26, #[codec(id = 28)] V27, #[codec(id = 29)] V28, #[codec(id = 30)] V29, #[codec(id = 31)] V30, #[codec(id = 32)] V31,
    #[codec(id = 33)] V32, #[codec(id = 34)] V33, #[codec(id = 35)] V34, #[codec(id = 36)] V35, #[codec(id = 37)] V36, #[codec(id = 38)] V37, #[codec(id = 39)] V38, #[codec(id = 40)] V39,
    #[codec(id = 41)] V40, #[codec(id = 42)] V41, #[codec(id = 43)] V42, #[codec(id = 44)] V43, #[codec(id = 45)] V44, #[codec(id = 46)] V45, #[codec(id = 47)] V46, #[codec(id = 48)] V47,
    #[codec(id = 49)] V48, #[codec(id = 50)] V49, #[codec(id = 51)] V50, #[codec(id = 52)] V51, #[codec(id = 53)] V52, #[codec(id = 54)] V53, #[codec(id = 55)] V54, #[codec(id = 56)] V55,
    #[codec(id = 57)] V56, #[codec(id = 58)] V57, #[codec(id = 59)] V58, #[codec(id = 60)] V59, #[codec(id = 61)] V60, #[codec(id = 62)] V61, #[codec(id = 63)] V62, #[codec(id = 64)] V63,
    #[codec(id = 65)] V64, #[codec(id = 66)] V65, #[codec(id = 67)] V66, #[codec(id = 68)] V67, #[codec(id = 69)] V68, #[codec(id = 70)] V69, #[codec(id = 71)] V70, #[codec(id = 72)] V71,
    #[codec(id = 73)] V72, #[codec(id = 74)] V73, #[codec(id = 75)] V74, #[codec(id = 76)] V75, #[codec(id = 77)] V76, #[codec(id = 78)] V77, #[codec(id = 79)] V78, #[codec(id = 80)] V79,
    #[codec(id = 81)] V80, #[codec(id = 82)] V81, #[codec(id = 83)] V82, #[codec(id = 84)] V83, #[codec(id = 85)] V84, #[codec(id = 86)] V85, #[codec(id = 87)] V86, #[codec(id = 88)] V87,
    #[codec(id = 89)] V88, #[codec(id = 90)] V89, #[codec(id = 91)] V90, #[codec(id = 92)] V91, #[codec(id = 93)] V92, #[codec(id = 94)] V93, #[codec(id = 95)] V94, #[codec(id = 96)] V95,
    #[codec(id = 97)] V96, #[codec(id = 98)] V97, #[codec(id = 99)] V98, #[codec(id = 100)] V99, #[codec(id = 101)] V100, #[codec(id = 102)] V101, #[codec(id = 103)] V102, #[codec(id = 104)] V103,
    #[codec(id = 105)] V104, #[codec(id = 106)] V105, #[codec(id = 107)] V106, #[codec(id = 108)] V107, #[codec(id = 109)] V108, #[codec(id = 110)] V109, #[codec(id = 111)] V110, #[codec(id = 112)] V111,
    #[codec(id = 113)] V112, #[codec(id = 114)] V113, #[codec(id = 115)] V114, #[codec(id = 116)] V115, #[codec(id = 117)] V116, #[codec(id = 118)] V117, #[codec(id = 119)] V118, #[codec(id = 120)] V119,
    #[codec(id = 121)] V120, #[codec(id = 122)] V121, #[codec(id = 123)] V122, #[codec(id = 124)] V123, #[codec(id = 125)] V124, #[codec(id = 126)] V125, #[codec(id = 127)] V126, #[codec(id = 128)] V127,
    #[codec(id = 129)] V128, #[codec(id = 130)] V129, #[codec(id = 131)] V130, #[codec(id = 132)] V131, #[codec(id = 133)] V132, #[codec(id = 134)] V133, #[codec(id = 135)] V134, #[codec(id = 136)] V135,
    #[codec(id = 137)] V136, #[codec(id = 138)] V137, #[codec(id = 139)] V138, #[codec(id = 140)] V139, #[codec(id = 141)] V140, #[codec(id = 142)] V141, #[codec(id = 143)] V142, #[codec(id = 144)] V143,
    #[codec(id = 145)] V144, #[codec(id = 146)] V145, #[codec(id = 147)] V146, #[codec(id = 148)] V147, #[codec(id = 149)] V148, #[codec(id = 150)] V149, #[codec(id = 151)] V150, #[codec(id = 152)] V151,
    #[codec(id = 153)] V152, #[codec(id = 154)] V153, #[codec(id = 155)] V154, #[codec(id = 156)] V155, #[codec(id = 157)] V156, #[codec(id = 158)] V157, #[codec(id = 159)] V158, #[codec(id = 160)] V159,
    #[codec(id = 161)] V160, #[codec(id = 162)] V161, #[codec(id = 163)] V162, #[codec(id = 164)] V163, #[codec(id = 165)] V164, #[codec(id = 166)] V165, #[codec(id = 167)] V166, #[codec(id = 168)] V167,
    #[codec(id = 169)] V168, #[codec(id = 170)] V169, #[codec(id = 171)] V170, #[codec(id = 172)] V171, #[codec(id = 173)] V172, #[codec(id = 174)] V173, #[codec(id = 175)] V174, #[codec(id = 176)] V175,
    #[codec(id = 177)] V176, #[codec(id = 178)] V177, #[codec(id = 179)] V178, #[codec(id = 180)] V179, #[codec(id = 181)] V180, #[codec(id = 182)] V181, #[codec(id = 183)] V182, #[codec(id = 184)] V183,
    #[codec(id = 185)] V184, #[codec(id = 186)] V185, #[codec(id = 187)] V186, #[codec(id = 188)] V187, #[codec(id = 189)] V188, #[codec(id = 190)] V189, #[codec(id = 191)] V190, #[codec(id = 192)] V191,
    #[codec(id = 193)] V192, #[codec(id = 194)] V193, #[codec(id = 195)] V194, #[codec(id = 196)] V195, #[codec(id = 197)] V196, #[codec(id = 198)] V197, #[codec(id = 199)] V198, #[codec(id = 200)] V199,
    #[codec(id = 201)] V200, #[codec(id = 202)] V201, #[codec(id = 203)] V202, #[codec(id = 204)] V203, #[codec(id = 205)] V204, #[codec(id = 206)] V205, #[codec(id = 207)] V206, #[codec(id = 208)] V207,
    #[codec(id = 209)] V208, #[codec(id = 210)] V209, #[codec(id = 211)] V210, #[codec(id = 212)] V211, #[codec(id = 213)] V212, #[codec(id = 214)] V213, #[codec(id = 215)] V214, #[codec(id = 216)] V215,
    #[codec(id = 217)] V216, #[codec(id = 218)] V217, #[codec(id = 219)] V218, #[codec(id = 220)] V219, #[codec(id = 221)] V220, #[codec(id = 222)] V221, #[codec(id = 223)] V222, #[codec(id = 224)] V223,
    #[codec(id = 225)] V224, #[codec(id = 226)] V225, #[codec(id = 227)] V226, #[codec(id = 228)] V227, #[codec(id = 229)] V228, #[codec(id = 230)] V229, #[codec(id = 231)] V230, #[codec(id = 232)] V231,
    #[codec(id = 233)] V232, #[codec(id = 234)] V233, #[codec(id = 235)] V234, #[codec(id = 236)] V235, #[codec(id = 237)] V236, #[codec(id = 238)] V237, #[codec(id = 239)] V238, #[codec(id = 240)] V239,
    #[codec(id = 241)] V240, #[codec(id = 242)] V241, #[codec(id = 243)] V242, #[codec(id = 244)] V243, #[codec(id = 245)] V244, #[codec(id = 246)] V245, #[codec(id = 247)] V246, #[codec(id = 248)] V247,
    #[codec(id = 249)] V248, #[codec(id = 250)] V249, #[codec(id = 251)] V250, #[codec(id = 252)] V251, #[codec(id = 253)] V252, #[codec(id = 254)] V253, #[codec(id = 255)] V254, #[codec(id = 256)] V255,
    #[codec(id = 257)] V256,
}

fn main() {}
