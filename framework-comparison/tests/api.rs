//! The test cases of product-service, on the other four frameworks: the same file.
#![expect(clippy::duplicate_mod, reason = "the same cases run on each framework")]

#[path = "."]
mod on_axum {
    use framework_comparison::axum as http;

    #[path = "../../product-service/tests/api/cases.rs"]
    mod cases;
}

#[path = "."]
mod on_poem {
    use framework_comparison::poem as http;

    #[path = "../../product-service/tests/api/cases.rs"]
    mod cases;
}

#[path = "."]
mod on_warp {
    use framework_comparison::warp as http;

    #[path = "../../product-service/tests/api/cases.rs"]
    mod cases;
}

#[path = "."]
mod on_actix {
    use framework_comparison::actix as http;

    #[path = "../../product-service/tests/api/cases.rs"]
    mod cases;
}
